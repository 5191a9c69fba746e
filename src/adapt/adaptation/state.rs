//! What outlives the process: the result, and the state that a resumed run continues from.

use super::Adaptation;
use crate::error::{Error, Result};
use crate::stylegan2::LayerId;
use crate::torch::TensorMap;
use std::collections::BTreeSet;

impl Adaptation {
    /// The result: the trained generator's tensors, or their moving average where one is kept. Shares memory.
    pub fn result(&self) -> TensorMap {
        let mut tensors = self.trainable.tensors();
        if let Some(average) = &self.average {
            tensors.extend(average.iter().map(|(n, t)| (n.clone(), t.shallow_clone())));
        }
        tensors
    }

    /// Everything that a resumed run needs beside its configuration. Shares memory.
    pub fn state(&self) -> TensorMap {
        let mut state = TensorMap::new();
        let trained = self.trained_names();
        for (name, tensor) in self.trainable.params().iter().filter(|(n, _)| trained.contains(*n)) {
            state.insert(format!("model/{name}"), tensor.detach());
        }
        for (name, tensor) in self.average.iter().flatten().filter(|(n, _)| trained.contains(*n)) {
            state.insert(format!("average/{name}"), tensor.shallow_clone());
        }
        state.extend(self.optimiser.state().into_iter().map(|(n, t)| (format!("adam/{n}"), t)));
        state
    }

    /// The layers chosen last; part of what a resumed run needs.
    pub fn chosen(&self) -> &[LayerId] {
        &self.chosen
    }

    /// Continues from what [`Adaptation::state`] and [`Adaptation::chosen`] gave.
    ///
    /// # Errors
    /// [`Error::Tensors`] when the state is not of this run's generator and configuration.
    pub fn restore(&mut self, state: &TensorMap, chosen: Vec<LayerId>) -> Result<()> {
        let part = |prefix: &str| -> TensorMap {
            let own = state
                .iter()
                .filter_map(|(n, t)| Some((n.strip_prefix(prefix)?.to_owned(), t.shallow_clone())));
            own.collect()
        };
        let model = part("model/");
        if model.keys().cloned().collect::<BTreeSet<_>>() != self.trained_names() {
            return Err(Error::Tensors {
                what: "this snapshot cannot be resumed".into(),
                problems: vec!["it holds other layers than this configuration trains".into()],
                hint: Some("resume with the configuration that the run was started with".into()),
            });
        }
        self.trainable.load_params(&model)?;
        if let Some(average) = &mut self.average {
            for (name, value) in part("average/") {
                average.insert(name, value.to_device(self.trainable.device()).copy());
            }
        }
        self.chosen = chosen;
        self.optimiser.restore(&part("adam/"), self.trainable.params())
    }
}
