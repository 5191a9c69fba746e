//! The losses, as pure functions of embeddings or images. One table ([`Term::ALL`]) names them all.
//!
//! Embeddings are unit vectors `[N, E]` unless said otherwise; images are `[N, 3, H, W]` in [-1, 1]. Facts:
//! rinongal/StyleGAN-nada `criteria/clip_loss.py` (reference §1.6), HyperDomainNet (§7); goldens `nada/losses`.

use crate::config::Losses;
use crate::imaging::colours;
use tch::{Kind, Tensor};

/// A term of the loss: its name in presets and metrics, and where its weight stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Term {
    /// [`directional`].
    Directional,
    /// [`global`].
    Global,
    /// [`manifold`].
    Manifold,
    /// [`patch`].
    Patch,
    /// [`in_domain`].
    InDomain,
    /// [`edges`].
    Edges,
    /// [`total_variation`].
    TotalVariation,
    /// [`out_of_range`].
    OutOfRange,
    /// [`magnitude`].
    Magnitude,
    /// [`chroma`].
    Chroma,
}

impl Term {
    /// Every term with its name.
    pub const ALL: [(&'static str, Self); 10] = [
        ("directional", Self::Directional),
        ("global", Self::Global),
        ("manifold", Self::Manifold),
        ("patch", Self::Patch),
        ("in_domain", Self::InDomain),
        ("edges", Self::Edges),
        ("total_variation", Self::TotalVariation),
        ("out_of_range", Self::OutOfRange),
        ("magnitude", Self::Magnitude),
        ("chroma", Self::Chroma),
    ];

    /// The name in presets and metrics.
    pub fn name(self) -> &'static str {
        Self::ALL[self as usize].0
    }

    /// Its weight.
    pub fn weight(self, losses: &Losses) -> f64 {
        match self {
            Self::Directional => losses.directional,
            Self::Global => losses.global,
            Self::Manifold => losses.manifold,
            Self::Patch => losses.patch,
            Self::InDomain => losses.in_domain,
            Self::Edges => losses.edges,
            Self::TotalVariation => losses.total_variation,
            Self::OutOfRange => losses.out_of_range,
            Self::Magnitude => losses.magnitude,
            Self::Chroma => losses.chroma,
        }
    }

    /// The terms that weigh anything.
    pub fn active(losses: &Losses) -> Vec<Self> {
        Self::ALL.into_iter().map(|(_, t)| t).filter(|t| t.weight(losses) > 0.0).collect()
    }
}

/// An edit shorter than this has no direction yet: the twins are still equal.
const NO_EDIT: f64 = 1e-4;

/// Edits `[N, E]` of unit length. Where the twins are (nearly) equal, 0/0 is replaced by the edit itself, so that
/// the first gradient points along the direction with a bounded length; `exact` leaves that guard out, as the
/// original does. `softening` is δ in Δ/√(‖Δ‖² + δ²).
fn unit_edits(source: &Tensor, adapted: &Tensor, softening: f64, exact: bool) -> Tensor {
    let edit = adapted - source;
    let square = edit.square().sum_dim_intlist([-1i64].as_slice(), true, edit.kind())
        + softening * softening;
    if exact || softening > 0.0 {
        return edit / square.sqrt();
    }
    let one = Tensor::ones([1], (edit.kind(), edit.device()));
    let length = one.where_self(&square.lt(NO_EDIT * NO_EDIT), &square).sqrt();
    edit / length
}

fn mean_of_one_minus(cosine: &Tensor) -> Tensor {
    let distance: Tensor = 1.0 - cosine;
    distance.mean(cosine.kind())
}

/// 1 − cos(Δimage, direction), mean over the batch: keeps diversity, because every image has its own start.
///
/// # Shapes
/// `source`, `adapted: [N, E]` unit; `direction: [1, E]` unit. Returns a scalar in [0, 2]. For `softening` and
/// `exact` see `unit_edits`.
pub fn directional(
    source: &Tensor,
    adapted: &Tensor,
    direction: &Tensor,
    softening: f64,
    exact: bool,
) -> Tensor {
    let edit = unit_edits(source, adapted, softening, exact);
    mean_of_one_minus(&(edit * direction).sum_dim_intlist(
        [-1i64].as_slice(),
        false,
        adapted.kind(),
    ))
}

/// 1 − scale·cos(image, text)/100, mean over the batch; `scale` is CLIP's learnt `exp(logit_scale)`, about 100.
pub fn global(adapted: &Tensor, text: &Tensor, scale: f64) -> Tensor {
    mean_of_one_minus(&(adapted.matmul(&text.transpose(0, 1)) * (scale / 100.0)))
}

/// |cos(source image, adapted image) − cos(source text, target text)|, mean over the batch.
pub fn manifold(
    source: &Tensor,
    adapted: &Tensor,
    source_text: &Tensor,
    target_text: &Tensor,
) -> Tensor {
    let images = (adapted * source)
        .sum_dim_intlist([-1i64].as_slice(), true, adapted.kind())
        .clamp(-1.0, 1.0);
    let texts = target_text.matmul(&source_text.transpose(0, 1));
    (images - texts).abs().mean(adapted.kind())
}

/// The directional loss of patches against several part directions, each weighed by how well it fits.
///
/// # Shapes
/// `source`, `adapted: [P, E]` unit features of patches, `directions: [K, E]` unit.
pub fn patch(source: &Tensor, adapted: &Tensor, directions: &Tensor) -> Tensor {
    let cosine = unit_edits(source, adapted, 0.0, false).matmul(&directions.transpose(0, 1)); // [P, K]
    let distance: Tensor = 1.0 - &cosine;
    (distance * cosine.softmax(-1, cosine.kind())).mean(adapted.kind())
}

/// Mean squared change of the angles between the images of a batch (HyperDomainNet's in-domain loss).
///
/// # Shapes
/// `source`, `adapted: [copies, N, E]` unit; pairs are made within a copy. N = 1 gives 0.
pub fn in_domain(source: &Tensor, adapted: &Tensor) -> Tensor {
    let angles = |f: &Tensor| f.matmul(&f.transpose(1, 2)); // [copies, N, N]
    let n = source.size()[1];
    let pairs = (source.size()[0] * n * (n - 1)).max(1) as f64;
    // The diagonal is 1 in both: it adds nothing.
    (angles(adapted) - angles(source)).square().sum(adapted.kind()) / pairs
}

/// −⟨Δimage, direction⟩: unlike the cosine it does not saturate.
pub fn magnitude(source: &Tensor, adapted: &Tensor, direction: &Tensor) -> Tensor {
    -((adapted - source) * direction)
        .sum_dim_intlist([-1i64].as_slice(), false, adapted.kind())
        .mean(adapted.kind())
}

/// 1 − correlation of edge maps at half resolution: the same lines at the same places.
pub fn edges(source: &Tensor, adapted: &Tensor) -> Tensor {
    let map = |x: &Tensor| {
        let grey = ((colours(x) + 1.0) / 2.0)
            .mean_dim([1i64].as_slice(), true, x.kind())
            .avg_pool2d([2, 2], [2, 2], [0, 0], false, true, None::<i64>);
        let (h, w) = (grey.size()[2], grey.size()[3]);
        let corner = |dy, dx| grey.narrow(2, dy, h - 1).narrow(3, dx, w - 1);
        let (gx, gy) = (corner(1, 0) - corner(0, 0), corner(0, 1) - corner(0, 0));
        let edge = (gx.square() + gy.square() + 1e-6).sqrt().flatten(1, -1);
        &edge - edge.mean_dim([1i64].as_slice(), true, edge.kind())
    };
    let (a, b) = (map(adapted), map(source));
    let dot = (&a * &b).sum_dim_intlist([1i64].as_slice(), false, a.kind());
    let norm = |t: &Tensor| t.norm_scalaropt_dim(2.0, [1i64].as_slice(), false);
    1.0 - (dot / (norm(&a) * norm(&b) + 1e-6)).mean(a.kind())
}

/// Mean absolute difference of neighbouring pixels, images taken to [0, 1], both axes summed.
pub fn total_variation(adapted: &Tensor) -> Tensor {
    let x = adapted / 2.0;
    let step = |dim: i64| {
        let n = x.size()[dim as usize];
        (x.narrow(dim, 1, n - 1) - x.narrow(dim, 0, n - 1)).abs().mean(x.kind())
    };
    step(2) + step(3)
}

/// Mean squared distance of the pixels, taken to [0, 1], from that range.
pub fn out_of_range(adapted: &Tensor) -> Tensor {
    let x: Tensor = (adapted + 1.0) / 2.0;
    (&x - x.clamp(0.0, 1.0)).square().mean(x.kind())
}

/// Mean squared distance of the pixels, taken to [0, 1], from their own grey: 0 for what has no colour.
pub fn chroma(adapted: &Tensor) -> Tensor {
    let x = colours(adapted) / 2.0;
    (&x - x.mean_dim([1i64].as_slice(), true, x.kind())).square().mean(x.kind())
}

/// Values of scalars, fetched from the device in one go.
pub fn values(scalars: &[Tensor]) -> Vec<f64> {
    let stacked =
        Tensor::stack(scalars, 0).detach().to_kind(Kind::Double).to_device(tch::Device::Cpu);
    Vec::<f64>::try_from(stacked).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clip::normalise;
    use crate::rng::stream;
    use tch::Device;

    fn random(shape: &[i64], purpose: &str) -> Tensor {
        stream(0, 0, purpose).uniform(-1.0, 1.0, shape, Kind::Double, Device::Cpu)
    }

    #[test]
    fn the_table_is_in_the_order_of_the_enum() {
        for (i, (name, term)) in Term::ALL.into_iter().enumerate() {
            assert_eq!(term as usize, i);
            assert_eq!(term.name(), name);
        }
    }

    #[test]
    fn equal_twins_give_a_bounded_gradient_along_the_direction() {
        let source = normalise(&random(&[3, 8], "source"));
        let direction = normalise(&random(&[1, 8], "direction"));
        let adapted = source.copy().set_requires_grad(true);
        let loss = directional(&source, &adapted, &direction, 0.0, false);
        assert_eq!(loss.double_value(&[]), 1.0);
        let grad = &Tensor::run_backward(&[loss], &[&adapted], false, false)[0];
        let expected = -direction.expand([3, 8], false) / 3.0;
        assert!((grad - expected).abs().max().double_value(&[]) < 1e-12);
    }

    #[test]
    fn image_terms_are_zero_for_what_they_want() {
        let x = random(&[2, 3, 16, 16], "image");
        assert!(edges(&x, &x).double_value(&[]).abs() < 1e-5);
        assert_eq!(out_of_range(&x).double_value(&[]), 0.0);
        assert!(
            (out_of_range(&(Tensor::ones([1, 3, 4, 4], (Kind::Double, Device::Cpu)) * 3.0))
                .double_value(&[])
                - 1.0)
                .abs()
                < 1e-12
        );
        assert_eq!(
            total_variation(&Tensor::ones([1, 3, 4, 4], (Kind::Double, Device::Cpu)))
                .double_value(&[]),
            0.0
        );
        let grey = x.narrow(1, 0, 1).expand_as(&x);
        assert!(chroma(&grey).double_value(&[]).abs() < 1e-12);
        assert!(chroma(&x).double_value(&[]) > 0.01);
        let f = normalise(&random(&[1, 4, 8], "features"));
        assert_eq!(in_domain(&f, &f).double_value(&[]), 0.0);
    }
}
