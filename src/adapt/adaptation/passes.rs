//! The gradient of a step in three passes: every sample forward by itself, the losses of them all, every sample back.
//!
//! Samples meet only where the losses look at them together, in features and images; so threads can have one each
//! ([`crate::torch::threads`]), and a loss is written for the whole batch all the same.

use super::Adaptation;
use crate::adapt::augment::Draw;
use crate::adapt::judge::{Judge, Look};
use crate::adapt::losses::{self, Term};
use crate::adapt::patches;
use crate::config::{Config, Parity};
use crate::error::Result;
use crate::rng;
use crate::stylegan2::{LayerId, Synthesis};
use crate::torch::threads::{self, Shared};
use crate::torch::{TensorMap, catch};
use std::collections::BTreeMap;
use std::ops::Range;
use tch::Tensor;

/// The name of the work in error messages.
const STEP: &str = "a training step";

/// The batch of a step: the codes of both twins, and the parameters that train.
pub(super) struct Batch {
    /// Codes of the frozen twin, `[N, L, D]`.
    pub(super) frozen_codes: Tensor,
    /// Codes of the trained twin; with a graph where the mapping network trains.
    pub(super) codes: Tensor,
    /// Names of the parameters that train in this step.
    pub(super) active: Vec<String>,
}

/// Inputs of one twin for some samples of the batch: codes and noise, then the changes before CLIP sees the images.
struct Sample {
    codes: Tensor,
    noise: Option<Vec<Tensor>>,
    augment: Option<Draw>,
    patches: Option<(Vec<(i64, i64)>, i64)>,
}

/// Images of one twin, and the features that every judge sees in them.
struct View {
    image: Tensor,
    shown: Tensor,
    features: Vec<Tensor>,
    /// Empty without the patch loss.
    patches: Vec<Tensor>,
}

/// What the losses look at of some samples.
struct Sight {
    codes: Tensor,
    source: Tensor,
    adapted: Tensor,
    looks: Vec<Look>,
}

/// The loss before it is a number: the sum, and every active term.
type Losses = (Tensor, BTreeMap<Term, Tensor>);

/// The rows of some samples, of noise maps of the whole batch.
pub(super) fn rows(maps: Option<&Vec<Tensor>>, samples: &Range<i64>) -> Option<Vec<Tensor>> {
    maps.map(|maps| maps.iter().map(|map| narrow(map, samples)).collect())
}

fn narrow(batch: &Tensor, samples: &Range<i64>) -> Tensor {
    batch.narrow(0, samples.start, samples.end - samples.start)
}

impl Adaptation {
    /// Gradients of the active parameters by name, the loss, and every active term before its weight.
    pub(super) fn gradients(&self, step: u64, batch: &Batch) -> Result<(TensorMap, Losses)> {
        let n = batch.codes.size()[0];
        let parts = match self.config.parity {
            Parity::None => threads::parts(batch.codes.device(), n),
            // The original compares the images of the whole batch with each other.
            Parity::Original => std::iter::once(0..n).collect(),
        };
        let samples = catch(STEP, || Ok(self.samples(step, batch, &parts)))?;
        let sights = self.see(samples)?;
        let (seeds, losses) = catch(STEP, || Ok(self.meet(&sights)))?;
        let gradients = self.back(batch, sights.into_iter().zip(seeds).collect())?;
        Ok((gradients, losses))
    }

    /// Everything that is drawn, shared out: for each part that of the frozen and that of the trained twin. They share
    /// the noise, except where the original's behaviour is asked for.
    fn samples(&self, step: u64, batch: &Batch, parts: &[Range<i64>]) -> Vec<[Sample; 2]> {
        let Config { augment, losses: weights, seed, parity, .. } = &self.config;
        let (n, [h, w]) = (batch.codes.size()[0], self.frozen.config().image_size());
        let shared = self.draw_noise(step, "noise", n);
        let own = match parity {
            Parity::Original => self.draw_noise(step, "second noise", n),
            Parity::None => None,
        };
        let like = (self.frozen.kind(), self.frozen.device());
        let draw = (augment.copies > 0)
            .then(|| Draw::new(augment, [n, h, w], like, &mut rng::stream(*seed, step, "augment")));
        let centres = (weights.patch > 0.0).then(|| {
            let size = ((h.min(w) as f64 * weights.patch_size) as i64 / 2 * 2).max(2);
            (patches::centres(n, size, h, w, &mut rng::stream(*seed, step, "patches")), size)
        });
        let learns = batch.codes.requires_grad();
        let twins = |samples: &Range<i64>| {
            let frozen = Sample {
                codes: narrow(&batch.frozen_codes, samples),
                noise: rows(shared.as_ref(), samples),
                augment: draw.as_ref().map(|draw| draw.part(samples)),
                patches: centres.as_ref().map(|(all, size)| {
                    (all[samples.start as usize..samples.end as usize].to_vec(), *size)
                }),
            };
            let codes = narrow(&batch.codes, samples);
            let trained = Sample {
                // What made the codes is shared by all samples: their gradients go back through it together.
                codes: if learns { codes.detach().set_requires_grad(true) } else { codes },
                noise: rows(own.as_ref().or(shared.as_ref()), samples),
                augment: frozen.augment.as_ref().map(Draw::shallow_clone),
                patches: frozen.patches.clone(),
            };
            [frozen, trained]
        };
        parts.iter().map(twins).collect()
    }

    /// Forward: images of both twins, and what every judge sees of them. The twins are two works for each part, since
    /// parts are not always alike; the heavier ones begin.
    fn see(&self, samples: Vec<[Sample; 2]>) -> Result<Vec<Sight>> {
        let codes: Vec<Tensor> = samples.iter().map(|[_, own]| own.codes.shallow_clone()).collect();
        let (mut works, mut frozen) = (Vec::new(), Vec::new());
        for [before, after] in samples.into_iter().rev() {
            works.push((true, after));
            frozen.push((false, before));
        }
        works.append(&mut frozen);
        let this = Shared::new(self);
        let views = threads::map(STEP, works, |(learns, sample)| {
            let this = this.get();
            Ok(match learns {
                true => this.view(this.trainable.synthesis(), &sample),
                false => tch::no_grad(|| {
                    this.view(this.fixed.as_ref().unwrap_or(this.frozen.synthesis()), &sample)
                }),
            })
        })?;
        let mut trained: Vec<View> = views;
        let frozen = trained.split_off(codes.len());
        let pairs = codes.into_iter().zip(frozen.into_iter().rev().zip(trained.into_iter().rev()));
        catch(STEP, || Ok(pairs.map(|(codes, (s, a))| self.sight(codes, s, a)).collect()))
    }

    fn view(&self, synthesis: &Synthesis, sample: &Sample) -> View {
        let image = synthesis.forward(&sample.codes, self.noise(sample.noise.as_ref()));
        let shown = match &sample.augment {
            Some(draw) => draw.apply(&image),
            None => image.shallow_clone(),
        };
        let seen = |images: &Tensor| self.judges.iter().map(|j| j.features(images)).collect();
        let patches = match &sample.patches {
            Some((centres, size)) => seen(&patches::cut(&image, centres, *size)),
            None => Vec::new(),
        };
        View { features: seen(&shown), image, shown, patches }
    }

    /// Both twins together. Equal twins are told apart as the original does, where it is asked for: by 1e-6 added to the
    /// adapted image.
    fn sight(&self, codes: Tensor, source: View, adapted: View) -> Sight {
        let nudge = self.config.parity == Parity::Original;
        let copies = self.config.augment.copies.max(1);
        let mut patches = source.patches.into_iter().zip(adapted.patches);
        let seen = self.judges.iter().zip(source.features.into_iter().zip(adapted.features));
        let look = |(judge, (before, mut after)): (&Judge, (Tensor, Tensor))| {
            let equal = || {
                let change: Tensor = after.detach() - &before;
                change.sum(change.kind()).double_value(&[]) == 0.0
            };
            if nudge && equal() {
                after = judge.features(&(&adapted.shown + 1e-6));
            }
            Look { source: before, adapted: after, copies, patches: patches.next() }
        };
        Sight {
            codes,
            source: source.image,
            adapted: adapted.image,
            looks: seen.map(look).collect(),
        }
    }

    /// The losses of the whole batch, and their gradient in what each part shows ([`Sight::shown`]).
    fn meet(&self, sights: &[Sight]) -> (Vec<Vec<Tensor>>, Losses) {
        let leaves: Vec<Sight> = sights.iter().map(Sight::leaf).collect();
        let joined =
            |of: fn(&Sight) -> &Tensor| Tensor::cat(&leaves.iter().map(of).collect::<Vec<_>>(), 0);
        let (source, adapted) = (joined(|s| &s.source), joined(|s| &s.adapted));
        let weights = &self.config.losses;
        let exact = self.config.parity == Parity::Original;
        let mut terms: BTreeMap<Term, Tensor> = BTreeMap::new();
        for (i, judge) in self.judges.iter().enumerate() {
            let look = Look::joined(&leaves.iter().map(|s| &s.looks[i]).collect::<Vec<_>>());
            for (term, value) in judge.terms(&look, weights, exact) {
                let sum = match terms.remove(&term) {
                    Some(sum) => sum + value,
                    None => value,
                };
                terms.insert(term, sum);
            }
        }
        for term in Term::active(weights) {
            let value = match term {
                Term::Edges => losses::edges(&source, &adapted),
                Term::TotalVariation => losses::total_variation(&adapted),
                Term::OutOfRange => losses::out_of_range(&adapted),
                Term::Chroma => losses::chroma(&adapted),
                _ => continue,
            };
            terms.insert(term, value);
        }
        let weighted = terms.iter().map(|(term, value)| value * term.weight(weights));
        let total = weighted.reduce(|a, b| a + b).expect("validation left at least one loss");
        let shown: Vec<&Tensor> = leaves.iter().flat_map(Sight::shown).collect();
        let mut seeds = Tensor::run_backward(&[&total], &shown, false, false).into_iter();
        let seeds = leaves.iter().map(|s| seeds.by_ref().take(s.shown().len()).collect()).collect();
        let terms = terms.into_iter().map(|(term, value)| (term, value.detach())).collect();
        (seeds, (total.detach(), terms))
    }

    /// Back: the gradients of the active parameters by name, summed over the samples in their order.
    fn back(&self, batch: &Batch, sights: Vec<(Sight, Vec<Tensor>)>) -> Result<TensorMap> {
        let of_mapping = |name: &&String| LayerId::of_parameter(name) == Some(LayerId::Mapping);
        let (mapping, synthesis): (Vec<&String>, Vec<&String>) =
            batch.active.iter().partition(of_mapping);
        let param = |name: &&String| &self.trainable.params()[*name];
        let wanted: Vec<Tensor> = synthesis.iter().map(|n| param(n).shallow_clone()).collect();
        let wanted = Shared::new(&wanted);
        let back = |(sight, seeds): (Sight, Vec<Tensor>)| {
            let codes = Some(&sight.codes).filter(|codes| codes.requires_grad());
            let wanted: Vec<&Tensor> = wanted.get().iter().chain(codes).collect();
            let reached = seeded(&sight.shown(), &seeds);
            let mut gradients = Tensor::run_backward(&[reached], &wanted, false, false);
            let codes = codes.and_then(|_| gradients.pop());
            Ok((gradients, codes.into_iter().collect::<Vec<_>>()))
        };
        let add = |(sum, mut codes): (Vec<Tensor>, Vec<Tensor>), (one, more): (Vec<Tensor>, _)| {
            codes.extend::<Vec<Tensor>>(more);
            let sum = match sum.is_empty() {
                true => one,
                false => sum.into_iter().zip(one).map(|(mut a, b)| a.g_add_(&b)).collect(),
            };
            (sum, codes)
        };
        let (sums, codes) = threads::fold(STEP, sights, back, Default::default(), add)?;
        let mut gradients: TensorMap = synthesis.into_iter().cloned().zip(sums).collect();
        if !codes.is_empty() {
            let wanted: Vec<&Tensor> = mapping.iter().map(param).collect();
            let of_mapping = catch(STEP, || {
                let reached = seeded(&[&batch.codes], &[Tensor::cat(&codes, 0)]);
                Ok(Tensor::run_backward(&[reached], &wanted, false, false))
            })?;
            gradients.extend(mapping.into_iter().cloned().zip(of_mapping));
        }
        Ok(gradients)
    }
}

impl Sight {
    /// What the losses may be differentiated in: the same tensors in the same order for every part.
    fn shown(&self) -> Vec<&Tensor> {
        let seen = self.looks.iter().flat_map(|look| {
            std::iter::once(&look.adapted).chain(look.patches.as_ref().map(|(_, adapted)| adapted))
        });
        std::iter::once(&self.adapted).chain(seen).collect()
    }

    /// The same numbers without what made them, to be differentiated in.
    fn leaf(&self) -> Self {
        let leaf = |t: &Tensor| t.detach().set_requires_grad(true);
        let look = |look: &Look| Look {
            source: look.source.shallow_clone(),
            adapted: leaf(&look.adapted),
            copies: look.copies,
            patches: look.patches.as_ref().map(|(s, a)| (s.shallow_clone(), leaf(a))),
        };
        Self {
            codes: self.codes.detach(),
            source: self.source.shallow_clone(),
            adapted: leaf(&self.adapted),
            looks: self.looks.iter().map(look).collect(),
        }
    }
}

/// A number whose gradient in `shown` is `seeds`: backward from it goes on where the losses' backward ended. What no
/// loss looked at has no gradient.
fn seeded(shown: &[&Tensor], seeds: &[Tensor]) -> Tensor {
    let reached = shown.iter().zip(seeds).filter(|(_, seed)| seed.defined());
    let sums = reached.map(|(shown, seed)| (*shown * seed).sum(seed.kind()));
    sums.reduce(|a, b| a + b).expect("a loss looks at something")
}
