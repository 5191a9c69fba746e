//! Ranger: rectified Adam (Liu et al. 2019) whose weights every few steps go half-way back to a slow copy (Lookahead,
//! Zhang et al. 2019), with centred gradients. What StyleCLIP's mappers are trained with; golden `mapper/ranger`.
//!
//! As in [`super::optim`], the state lives per parameter, counts its own steps, and can be saved.

use crate::error::{Error, Result};
use crate::torch::TensorMap;
use std::collections::BTreeMap;
use tch::{Kind, Tensor};

const BETAS: (f64, f64) = (0.95, 0.999);
const EPS: f64 = 1e-5;
/// Steps between two looks back.
const LOOKAHEAD: i64 = 6;
/// How far the slow weights follow the fast ones.
const FOLLOW: f64 = 0.5;
/// With fewer effective samples than this the second moment says nothing yet, and is not used.
const ENOUGH_SAMPLES: f64 = 5.0;

/// RAdam, Lookahead and centred gradients, without weight decay.
#[derive(Debug)]
pub struct Ranger {
    lr: f64,
    state: BTreeMap<String, Moments>,
}

#[derive(Debug)]
struct Moments {
    step: i64,
    mean: Tensor,
    square: Tensor,
    slow: Tensor,
}

impl Ranger {
    /// With the given learning rate; everything else is the usual (β 0.95 and 0.999, a look back every 6 steps).
    pub fn new(lr: f64) -> Self {
        Self { lr, state: BTreeMap::new() }
    }

    /// One update of `param` in place.
    pub fn step(&mut self, name: &str, param: &Tensor, grad: &Tensor) {
        let lr = self.lr;
        tch::no_grad(|| {
            let moments = self.state.entry(name.to_owned()).or_insert_with(|| Moments {
                step: 0,
                mean: param.zeros_like(),
                square: param.zeros_like(),
                slow: param.detach().copy(),
            });
            moments.step += 1;
            let grad = centred(grad);
            let (b1, b2) = BETAS;
            let square =
                moments.square.g_mul_scalar_(b2).g_add_(&(&grad * &grad).g_mul_scalar_(1.0 - b2));
            let mean = moments.mean.g_mul_scalar_(b1).g_add_(&(&grad * (1.0 - b1)));
            let (size, adaptive) = rectified(moments.step);
            let change = match adaptive {
                true => mean / (square.sqrt() + EPS),
                false => mean.copy(),
            };
            let mut param = param.shallow_clone();
            let _ = param.g_sub_(&(change * (size * lr)));
            if moments.step % LOOKAHEAD == 0 {
                let behind = &param - &moments.slow;
                let _ = moments.slow.g_add_(&(behind * FOLLOW));
                param.copy_(&moments.slow);
            }
        });
    }

    /// The state as tensors: `mean/NAME`, `square/NAME`, `slow/NAME`, `step/NAME`. Shares memory with the optimiser.
    pub fn state(&self) -> TensorMap {
        let mut out = TensorMap::new();
        for (name, m) in &self.state {
            out.insert(format!("mean/{name}"), m.mean.shallow_clone());
            out.insert(format!("square/{name}"), m.square.shallow_clone());
            out.insert(format!("slow/{name}"), m.slow.shallow_clone());
            out.insert(format!("step/{name}"), Tensor::from_slice(&[m.step]));
        }
        out
    }

    /// Restores what [`Ranger::state`] gave, for the parameters in `params`.
    ///
    /// # Errors
    /// [`Error::Tensors`] when a tensor is missing or does not fit its parameter.
    pub fn restore(&mut self, state: &TensorMap, params: &TensorMap) -> Result<()> {
        let mut restored = BTreeMap::new();
        let mut problems = Vec::new();
        for name in state.keys().filter_map(|key| key.strip_prefix("step/")) {
            let part = |of: &str| {
                let param = params.get(name)?;
                let tensor = state.get(&format!("{of}/{name}"))?;
                (tensor.size() == param.size())
                    .then(|| tensor.to_device(param.device()).to_kind(param.kind()).copy())
            };
            let step = &state[&format!("step/{name}")];
            match (part("mean"), part("square"), part("slow")) {
                (Some(mean), Some(square), Some(slow))
                    if step.kind() == Kind::Int64 && step.numel() == 1 =>
                {
                    let step = step.int64_value(&[0]);
                    restored.insert(name.to_owned(), Moments { step, mean, square, slow });
                }
                _ => problems.push(format!(
                    "the optimiser's state of `{name}` is incomplete or shaped differently"
                )),
            }
        }
        if !problems.is_empty() {
            let what = "this snapshot cannot be resumed".into();
            return Err(Error::Tensors { what, problems, hint: None });
        }
        self.state = restored;
        Ok(())
    }
}

/// Gradients of matrices, each row less its mean; of vectors as they are.
fn centred(grad: &Tensor) -> Tensor {
    let dims: Vec<i64> = (1..grad.dim() as i64).collect();
    match dims.is_empty() {
        true => grad.shallow_clone(),
        false => grad - grad.mean_dim(dims.as_slice(), true, grad.kind()),
    }
}

/// The step size before the learning rate, and whether the second moment is used.
fn rectified(step: i64) -> (f64, bool) {
    let (b1, b2) = BETAS;
    let bias = 1.0 - b1.powi(step as i32);
    let decayed = b2.powi(step as i32);
    let most = 2.0 / (1.0 - b2) - 1.0;
    let samples = most - 2.0 * step as f64 * decayed / (1.0 - decayed);
    if samples <= ENOUGH_SAMPLES {
        return (1.0 / bias, false);
    }
    let rectifier =
        (samples - 4.0) / (most - 4.0) * (samples - 2.0) / samples * most / (most - 2.0);
    (((1.0 - decayed) * rectifier).sqrt() / bias, true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Device;

    #[test]
    fn a_saved_state_goes_on_to_the_same_numbers() {
        let grads: Vec<Tensor> = (0..9)
            .map(|i| crate::rng::stream(0, i, "grad").normal(&[3, 2], Kind::Double, Device::Cpu))
            .collect();
        let run = |pause: usize| {
            let x = Tensor::ones([3, 2], (Kind::Double, Device::Cpu));
            let mut ranger = Ranger::new(0.1);
            for (i, grad) in grads.iter().enumerate() {
                if i == pause {
                    let state = ranger.state();
                    ranger = Ranger::new(0.1);
                    let params = TensorMap::from([("x".into(), x.shallow_clone())]);
                    ranger.restore(&state, &params).unwrap();
                }
                ranger.step("x", &x, grad);
            }
            x
        };
        assert_eq!(run(usize::MAX), run(7));
        assert_ne!(run(3), Tensor::ones([3, 2], (Kind::Double, Device::Cpu)));
    }

    #[test]
    fn a_state_of_another_shape_is_refused() {
        let x = Tensor::ones([2], (Kind::Float, Device::Cpu));
        let mut ranger = Ranger::new(0.1);
        ranger.step("x", &x, &x);
        let other = TensorMap::from([("x".into(), Tensor::ones([3], (Kind::Float, Device::Cpu)))]);
        assert!(Ranger::new(0.1).restore(&ranger.state(), &other).is_err());
    }
}
