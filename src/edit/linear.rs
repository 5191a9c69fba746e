//! Edits in W+ along known directions: InterFaceGAN's boundaries, GANSpace's components, SeFA's eigenvectors.

use super::sefa;
use crate::error::{Error, Result};
use crate::stylegan2::Generator;
use crate::torch::catch;
use std::ops::RangeInclusive;
use tch::{Kind, Tensor};

/// Where an edit goes; tensors are float32 on the generator's device.
#[derive(Debug)]
pub enum Direction {
    /// w + strength·d, with d `[1, D]` or one for each style input `[L, D]`.
    Along(Tensor),
    /// The coordinate of w along a principal component is **set** to `strength` deviations.
    Coordinate {
        /// `[D]`.
        mean: Tensor,
        /// `[D]`, of length 1.
        component: Tensor,
        /// Spread along it.
        deviation: f64,
    },
}

/// A direction, and the style inputs that it applies to.
#[derive(Debug)]
pub struct LinearEdit {
    /// How people call it.
    pub name: String,
    direction: Direction,
    inputs: RangeInclusive<i64>,
}

impl LinearEdit {
    /// Checks a direction against a generator; `inputs` are the style inputs that it changes, all of them if unset.
    ///
    /// # Errors
    /// [`Error::Request`] for a direction of another width or number of layers, or style inputs that do not exist.
    pub fn new(
        name: impl Into<String>,
        direction: Direction,
        inputs: Option<RangeInclusive<i64>>,
        generator: &Generator,
    ) -> Result<Self> {
        let name = name.into();
        let (styles, width) = (generator.config().num_styles(), generator.config().style_dim);
        let inputs = inputs.unwrap_or(0..=styles - 1);
        if inputs.is_empty() || *inputs.start() < 0 || *inputs.end() >= styles {
            return Err(Error::request(
                format!("`{name}`: style inputs {} to {}", inputs.start(), inputs.end()),
                format!("this generator's style inputs are 0 to {}", styles - 1),
            ));
        }
        let misfit = |found: String| {
            Err(Error::request(
                format!(
                    "`{name}` {found}, this generator's w has {width} numbers, its w+ {styles} of them"
                ),
                "a direction belongs to the generator that it was found in, or one adapted from it",
            ))
        };
        match &direction {
            Direction::Along(d) => match d.size().as_slice() {
                &[1, w] if w == width => {}
                &[rows, w] if rows == styles && w == width => {}
                other => return misfit(format!("is a direction of shape {other:?}")),
            },
            Direction::Coordinate { mean, component, deviation } => {
                if mean.size() != [width] || component.size() != [width] {
                    let wide = component.size();
                    return misfit(format!("is a component of shape {wide:?}"));
                }
                if !(deviation.is_finite() && *deviation > 0.0) {
                    return Err(Error::request(
                        format!("`{name}`: the spread along this component is {deviation}"),
                        "choose another component",
                    ));
                }
            }
        }
        let on = |t: Tensor| t.to_device(generator.device()).to_kind(generator.kind());
        let direction = match direction {
            Direction::Along(d) => Direction::Along(on(d)),
            Direction::Coordinate { mean, component, deviation } => {
                Direction::Coordinate { mean: on(mean), component: on(component), deviation }
            }
        };
        Ok(Self { name, direction, inputs })
    }

    /// Eigenvector `index` (0 is the strongest) of SeFA, found in and applied to the layers of `inputs`.
    ///
    /// # Errors
    /// [`Error::Request`] when there is no such layer or eigenvector.
    pub fn sefa(
        index: i64,
        inputs: Option<RangeInclusive<i64>>,
        generator: &Generator,
    ) -> Result<Self> {
        let all = 0..=generator.config().num_styles() - 1;
        let name = format!("sefa#{index}");
        let (directions, _) = sefa::directions(generator, inputs.clone().unwrap_or(all))?;
        if index < 0 || index >= directions.size()[0] {
            return Err(Error::request(
                format!("there is no eigenvector {index}"),
                format!("they are counted from 0 to {}", directions.size()[0] - 1),
            ));
        }
        let direction = Direction::Along(directions.narrow(0, index, 1));
        Self::new(name, direction, inputs, generator)
    }

    /// Whether it is a direction of zeros in all style inputs that it applies to.
    pub fn moves_nothing(&self) -> bool {
        let (from, count) = (*self.inputs.start(), self.inputs.end() - self.inputs.start() + 1);
        let numbers = match &self.direction {
            Direction::Along(d) if d.size()[0] == 1 => d.shallow_clone(),
            Direction::Along(d) => d.narrow(0, from, count),
            Direction::Coordinate { component, .. } => component.shallow_clone(),
        };
        numbers.count_nonzero(None).int64_value(&[]) == 0
    }

    /// Moves codes `[N, L, D]` by `strength`. A boundary or eigenvector is added; a component's coordinate is set.
    ///
    /// # Errors
    /// [`Error::Request`] for a strength that is no number; a failure of the device.
    pub fn apply(&self, codes: &Tensor, strength: f64) -> Result<Tensor> {
        if !strength.is_finite() {
            return Err(Error::request(
                format!("`{}`: the strength {strength} is no number", self.name),
                "strengths are about -5 to 5",
            ));
        }
        catch("editing codes", || {
            let (from, count) = (*self.inputs.start(), self.inputs.end() - self.inputs.start() + 1);
            let part = codes.narrow(1, from, count);
            let change = match &self.direction {
                Direction::Along(d) if d.size()[0] == 1 => d.unsqueeze(0) * strength,
                Direction::Along(d) => d.narrow(0, from, count).unsqueeze(0) * strength,
                Direction::Coordinate { mean, component, deviation } => {
                    let along = ((&part - mean) * component).sum_dim_intlist(
                        [-1i64].as_slice(),
                        true,
                        None::<Kind>,
                    );
                    (along.neg() + strength * deviation) * component
                }
            };
            let edited = codes.copy();
            edited.narrow(1, from, count).copy_(&(part + change));
            Ok(edited)
        })
    }
}

/// Several edits, one after the other.
///
/// # Errors
/// As [`LinearEdit::apply`].
pub fn compose(edits: &[(&LinearEdit, f64)], codes: &Tensor) -> Result<Tensor> {
    edits.iter().try_fold(codes.shallow_clone(), |codes, (edit, s)| edit.apply(&codes, *s))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng;
    use crate::stylegan2::Config;
    use tch::Device;

    fn generator() -> Generator {
        let mut config = Config::standard(16, 1);
        (config.style_dim, config.z_dim, config.mapping_width) = (8, 8, 8);
        config.mapping_layers = 1;
        config.channels = vec![4; 3];
        config.constant_channels = 4;
        Generator::random(config, 1, Kind::Double, Device::Cpu).unwrap()
    }

    fn codes() -> Tensor {
        rng::stream(0, 0, "codes").normal(&[2, 6, 8], Kind::Double, Device::Cpu)
    }

    #[test]
    fn a_boundary_is_added_to_the_inputs_asked_for_and_composes_in_any_order() {
        let (g, w) = (generator(), codes());
        let d = rng::stream(0, 0, "d").normal(&[1, 8], Kind::Float, Device::Cpu);
        let e = rng::stream(0, 0, "e").normal(&[6, 8], Kind::Float, Device::Cpu);
        let one = LinearEdit::new("d", Direction::Along(d.copy()), Some(2..=3), &g).unwrap();
        let two = LinearEdit::new("e", Direction::Along(e), None, &g).unwrap();
        let moved = one.apply(&w, 2.0).unwrap() - &w;
        assert_eq!(moved.narrow(1, 0, 2).abs().max().double_value(&[]), 0.0);
        let want = d.to_kind(Kind::Double) * 2.0;
        assert!((moved.select(1, 3) - want).abs().max().double_value(&[]) < 1e-12);
        let ab = compose(&[(&one, 1.0), (&two, -1.0)], &w).unwrap();
        let ba = compose(&[(&two, -1.0), (&one, 1.0)], &w).unwrap();
        assert!((ab - ba).abs().max().double_value(&[]) < 1e-12);
    }

    #[test]
    fn a_component_has_the_coordinate_that_was_asked_for() {
        let (g, w) = (generator(), codes());
        let c = rng::stream(0, 0, "c").normal(&[8], Kind::Double, Device::Cpu);
        let (component, mean) = (&c / c.norm(), Tensor::ones([8], (Kind::Double, Device::Cpu)));
        let direction = Direction::Coordinate {
            mean: mean.copy(),
            component: component.copy(),
            deviation: 0.5,
        };
        let edit = LinearEdit::new("c", direction, None, &g).unwrap();
        let edited = edit.apply(&w, 3.0).unwrap();
        let coordinate = (&edited - mean).matmul(&component) / 0.5;
        assert!((coordinate - 3.0).abs().max().double_value(&[]) < 1e-9);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let g = generator();
        let along =
            |shape: &[i64]| Direction::Along(Tensor::ones(shape, (Kind::Float, Device::Cpu)));
        let text = |e: Result<LinearEdit>| e.unwrap_err().to_string();
        assert!(text(LinearEdit::new("d", along(&[1, 512]), None, &g)).contains("[1, 512], this"));
        assert!(LinearEdit::new("d", along(&[18, 8]), None, &g).is_err());
        assert!(text(LinearEdit::new("d", along(&[1, 8]), Some(4..=6), &g)).contains("4 to 6"));
        assert!(LinearEdit::sefa(8, None, &g).is_err());
        let edit = LinearEdit::sefa(0, Some(0..=1), &g).unwrap();
        assert!(edit.apply(&codes(), f64::NAN).is_err());
    }
}
