//! Adam whose state can be saved (tch's cannot), equal to `torch.optim.Adam` to the last digits.
//!
//! The state lives per parameter and counts its own steps: a layer that is frozen for a while neither moves nor
//! forgets. With β₁ = 0, the value that the original trains with, the first moment is the gradient itself and is
//! not stored.

use crate::error::{Error, Result};
use crate::torch::TensorMap;
use std::collections::BTreeMap;
use tch::{Kind, Tensor};

const EPS: f64 = 1e-8;

/// Adam without weight decay.
#[derive(Debug)]
pub struct Adam {
    lr: f64,
    betas: (f64, f64),
    state: BTreeMap<String, Moments>,
}

#[derive(Debug)]
struct Moments {
    step: i64,
    mean: Option<Tensor>,
    square: Tensor,
}

impl Adam {
    /// Plain Adam with learning rate and (β₁, β₂).
    pub fn new(lr: f64, betas: (f64, f64)) -> Self {
        Self { lr, betas, state: BTreeMap::new() }
    }

    /// As StyleGAN2 and the original: `Adam(lr·r, (0^r, 0.99^r))` with the regularisation ratio r.
    pub fn with_ratio(lr: f64, ratio: f64) -> Self {
        Self::new(lr * ratio, (0f64.powf(ratio), 0.99f64.powf(ratio)))
    }

    /// The learning rate of the updates to come, for schedules.
    pub fn set_lr(&mut self, lr: f64) {
        self.lr = lr;
    }

    /// One update of `param` in place.
    pub fn step(&mut self, name: &str, param: &Tensor, grad: &Tensor) {
        let (b1, b2) = self.betas;
        let moments = self.state.entry(name.to_owned()).or_insert_with(|| Moments {
            step: 0,
            mean: (b1 > 0.0).then(|| param.zeros_like()),
            square: param.zeros_like(),
        });
        tch::no_grad(|| {
            moments.step += 1;
            let correction1 = 1.0 - b1.powi(moments.step as i32);
            let correction2 = 1.0 - b2.powi(moments.step as i32);
            let square =
                moments.square.g_mul_scalar_(b2).g_add_(&(grad * grad).g_mul_scalar_(1.0 - b2));
            let denominator = square.sqrt().g_div_scalar_(correction2.sqrt()).g_add_scalar_(EPS);
            let direction = match &mut moments.mean {
                Some(mean) => mean.g_mul_scalar_(b1).g_add_(&(grad * (1.0 - b1))),
                None => grad.shallow_clone(),
            };
            let change = (direction / denominator).g_mul_scalar_(self.lr / correction1);
            let _ = param.shallow_clone().g_sub_(&change);
        });
    }

    /// An update with a gradient of zero for a parameter that has been updated before: what the original's frozen
    /// layers get when gradients are cleared to zero instead of to nothing. With β₁ = 0 the value stays.
    pub fn decay(&mut self, name: &str, param: &Tensor) {
        self.step(name, param, &param.zeros_like());
    }

    /// The state as tensors: `square/NAME`, `mean/NAME`, `step/NAME`. Shares memory with the optimiser.
    pub fn state(&self) -> TensorMap {
        let mut out = TensorMap::new();
        for (name, m) in &self.state {
            out.insert(format!("square/{name}"), m.square.shallow_clone());
            if let Some(mean) = &m.mean {
                out.insert(format!("mean/{name}"), mean.shallow_clone());
            }
            out.insert(format!("step/{name}"), Tensor::from_slice(&[m.step]));
        }
        out
    }

    /// Restores what [`Adam::state`] gave, for the parameters in `params`.
    ///
    /// # Errors
    /// [`Error::Tensors`] when a tensor is missing or does not fit its parameter.
    pub fn restore(&mut self, state: &TensorMap, params: &TensorMap) -> Result<()> {
        let mut problems = Vec::new();
        let mut restored = BTreeMap::new();
        for (key, square) in state {
            let Some(name) = key.strip_prefix("square/") else { continue };
            let fits = |t: &&Tensor| params.get(name).is_some_and(|p| p.size() == t.size());
            let on =
                |t: &Tensor| t.to_device(params[name].device()).to_kind(params[name].kind()).copy();
            let mean = state.get(&format!("mean/{name}"));
            let step = state
                .get(&format!("step/{name}"))
                .filter(|t| t.kind() == Kind::Int64 && t.numel() == 1);
            match (Some(square).filter(fits), step) {
                (Some(square), Some(step))
                    if mean.is_some() == (self.betas.0 > 0.0) && mean.iter().all(fits) =>
                {
                    let moments = Moments {
                        step: step.int64_value(&[0]),
                        mean: mean.map(on),
                        square: on(square),
                    };
                    restored.insert(name.to_owned(), moments);
                }
                _ => problems.push(format!(
                    "the optimiser's state of `{name}` is incomplete or shaped differently"
                )),
            }
        }
        if !problems.is_empty() {
            return Err(Error::Tensors {
                what: "this snapshot cannot be resumed".into(),
                problems,
                hint: None,
            });
        }
        self.state = restored;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Device;

    /// Adam's published update rule, number by number.
    fn by_hand(lr: f64, b1: f64, b2: f64, grads: &[f64]) -> f64 {
        let (mut x, mut m, mut v) = (1.0, 0.0, 0.0);
        for (t, g) in grads.iter().enumerate() {
            m = b1 * m + (1.0 - b1) * g;
            v = b2 * v + (1.0 - b2) * g * g;
            let (mh, vh) = (m / (1.0 - b1.powi(t as i32 + 1)), v / (1.0 - b2.powi(t as i32 + 1)));
            x -= lr * mh / (vh.sqrt() + EPS);
        }
        x
    }

    #[test]
    fn follows_the_published_rule_and_survives_saving() {
        for betas in [(0.0, 0.99), (0.9, 0.999)] {
            let x = Tensor::ones([1], (Kind::Double, Device::Cpu));
            let grads = [0.3, -2.0, 0.01, 5.0];
            let mut adam = Adam::new(0.1, betas);
            for (i, g) in grads.iter().enumerate() {
                if i == 2 {
                    let state = adam.state();
                    adam = Adam::new(0.1, betas);
                    adam.restore(&state, &TensorMap::from([("x".into(), x.shallow_clone())]))
                        .unwrap();
                }
                adam.step("x", &x, &Tensor::from_slice(&[*g]));
            }
            assert!((x.double_value(&[0]) - by_hand(0.1, betas.0, betas.1, &grads)).abs() < 1e-12);
        }
    }

    #[test]
    fn decay_leaves_the_value_but_advances_the_state() {
        let x = Tensor::ones([1], (Kind::Double, Device::Cpu));
        let mut adam = Adam::with_ratio(0.002, 0.8);
        adam.step("x", &x, &Tensor::from_slice(&[1.0]));
        let before = x.copy();
        adam.decay("x", &x);
        assert_eq!(x, before);
        assert_eq!(adam.state()["step/x"].int64_value(&[0]), 2);
    }

    #[test]
    fn a_state_of_another_shape_is_refused() {
        let x = Tensor::ones([2], (Kind::Float, Device::Cpu));
        let mut adam = Adam::with_ratio(0.002, 0.8);
        adam.step("x", &x, &x);
        let other = TensorMap::from([("x".into(), Tensor::ones([3], (Kind::Float, Device::Cpu)))]);
        assert!(Adam::with_ratio(0.002, 0.8).restore(&adam.state(), &other).is_err());
    }
}
