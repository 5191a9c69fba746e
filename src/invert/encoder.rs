//! The encoder: an image to the codes of every style input.

use super::config::{Config, Flavour};
use super::layers::Module;
use super::pyramid::Pyramid;
use super::styles::{Linear, Style};
use super::trunk::Trunk;
use crate::error::{Error, Result};
use crate::torch::threads::Tensors;
use crate::torch::{TensorMap, catch};
use tch::{Device, Kind, Tensor};

/// An image encoder of ReStyle, pSp or e4e, frozen.
#[derive(Debug)]
pub struct Encoder {
    config: Config,
    trunk: Trunk,
    pyramid: Option<Pyramid>,
    styles: Vec<Style>,
    single: Option<Linear>,
    kind: Kind,
    device: Device,
}

// SAFETY: tensors and plain data.
#[allow(unsafe_code)]
unsafe impl Tensors for Encoder {}

impl Encoder {
    /// Builds the network of `config` from tensors of one kind on one device.
    ///
    /// # Errors
    /// [`Error::Tensors`] with all tensors that are missing or do not fit.
    pub fn new(config: Config, tensors: &TensorMap) -> Result<Self> {
        let problems: Vec<String> = config
            .shapes()
            .into_iter()
            .filter_map(|(name, shape)| match tensors.get(&name) {
                None => Some(format!("`{name}` is missing")),
                Some(t) if t.size() != shape => {
                    Some(format!("`{name}` has shape {:?}, expected {shape:?}", t.size()))
                }
                Some(_) => None,
            })
            .collect();
        if !problems.is_empty() {
            return Err(super::config::broken(problems));
        }
        let sample = &tensors[config.family.stem_name()];
        let (kind, device) = (sample.kind(), sample.device());
        catch("building the encoder", || {
            let p = Module::root(tensors);
            let styles = config.styles.iter().enumerate();
            let styles =
                styles.map(|(i, block)| Style::new(&p.at("styles").at(i), block)).collect();
            Ok(tch::no_grad(|| Self {
                trunk: Trunk::new(&p, config.family, &config.units),
                pyramid: config.pyramid.then(|| Pyramid::new(&p)),
                styles,
                single: (config.flavour == Flavour::SingleCode)
                    .then(|| Linear::new(&p.at("linear"))),
                config,
                kind,
                device,
            }))
        })
    }

    /// Its sizes and what its outputs mean.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Precision of the weights.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Where the weights lie.
    pub fn device(&self) -> Device {
        self.device
    }

    /// Codes `[N, L, D]`, or `[N, 1, D]` of [`Flavour::SingleCode`], before anything is added to them. No gradients.
    ///
    /// # Shapes
    /// `xs: [N, C, H, W]` in [-1, 1], of the configuration's channels and size.
    ///
    /// # Errors
    /// [`Error::Request`] for another shape; a failure of the device.
    pub fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        let Config { channels, height, width, .. } = self.config;
        if xs.size().get(1..) != Some(&[channels, height, width]) {
            return Err(Error::request(
                format!("the encoder got images of shape {:?}", xs.size()),
                format!("it takes [N, {channels}, {height}, {width}]"),
            ));
        }
        catch("encoding images", || Ok(tch::no_grad(|| self.codes(xs))))
    }

    fn codes(&self, xs: &Tensor) -> Tensor {
        let last = self.config.units.len() - 1;
        if let Some(linear) = &self.single {
            let map = &self.trunk.forward(xs, &[last])[0];
            let mean = map.mean_dim([2i64, 3].as_slice(), false, map.kind());
            return linear.forward(&mean).unsqueeze(1);
        }
        let maps: Vec<Tensor> = match &self.pyramid {
            Some(pyramid) => pyramid.forward(&self.trunk.forward(xs, &self.config.levels())).into(),
            None => self.trunk.forward(xs, &[last]),
        };
        let map = |code: usize| match &self.pyramid {
            Some(_) => &maps[Pyramid::map_of(code)],
            None => &maps[0],
        };
        let codes: Vec<Tensor> =
            self.styles.iter().enumerate().map(|(i, style)| style.forward(map(i))).collect();
        let codes = Tensor::stack(&codes, 1);
        match self.config.flavour {
            Flavour::Deltas => {
                let first = codes.narrow(1, 0, 1);
                let rest = codes.narrow(1, 1, codes.size()[1] - 1) + &first;
                Tensor::cat(&[first, rest], 1)
            }
            Flavour::Codes | Flavour::SingleCode => codes,
        }
    }
}
