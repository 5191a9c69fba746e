//! Between generators: weights interpolated, so that one domain turns into another (StyleGAN-NADA, figure 13).

use super::Generator;
use crate::error::{Error, Result};
use crate::torch::{TensorMap, catch};
use tch::{Kind, Tensor};

/// Generators in a row, and any mixture of two neighbours.
#[derive(Debug)]
pub struct Morph {
    /// Takes the weights of every mixture.
    work: Generator,
    /// For each generator, the parameters in which not all are the same.
    stops: Vec<TensorMap>,
}

impl Morph {
    /// Generators of one shape and one device, at least one. Noise maps and the mapping network's average are those
    /// of the first.
    ///
    /// # Errors
    /// [`Error::Request`] when there is none, or when their shapes differ.
    pub fn new(generators: &[Generator]) -> Result<Self> {
        let Some(first) = generators.first() else {
            return Err(Error::request("no generator was given", "name at least one"));
        };
        if let Some(i) = generators.iter().position(|g| g.config() != first.config()) {
            return Err(Error::request(
                format!("generator {} has another shape than the first", i + 1),
                "only generators that were adapted from the same one can be mixed",
            ));
        }
        catch("comparing generators", || {
            let same = |name: &String, tensor: &Tensor| {
                generators[1..].iter().all(|g| g.params()[name].equal(tensor))
            };
            let differing: Vec<&String> =
                first.params().iter().filter(|(n, t)| !same(n, t)).map(|(name, _)| name).collect();
            let stop = |g: &Generator| {
                let of = |name: &&String| ((*name).clone(), g.params()[*name].detach().copy());
                differing.iter().map(of).collect::<TensorMap>()
            };
            let stops = generators.iter().map(stop).collect();
            Ok(Self { work: first.duplicate(first.kind(), first.device())?, stops })
        })
    }

    /// The generator at a position: 0 is the first, 1 the second, 0.5 half way between. The last one is followed by
    /// the first.
    ///
    /// # Errors
    /// A failure of the device.
    pub fn at(&self, position: f64) -> Result<&Generator> {
        let count = self.stops.len();
        let whole = position.floor();
        let (from, part) = ((whole as i64).rem_euclid(count as i64) as usize, position - whole);
        let to = (from + 1) % count;
        catch("mixing generators", || {
            let mixed = self.stops[from].iter().map(|(name, a)| {
                let b = &self.stops[to][name];
                (name.clone(), tch::no_grad(|| a.lerp(b, part)))
            });
            self.work.load_params(&mixed.collect())?;
            Ok(&self.work)
        })
    }

    /// How many parameters change.
    pub fn changing(&self) -> usize {
        self.stops[0].values().map(Tensor::numel).sum()
    }

    /// Precision of the weights.
    pub fn kind(&self) -> Kind {
        self.work.kind()
    }
}
