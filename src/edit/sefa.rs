//! SeFA: the directions in W that change most what the layers get, from the weights alone (Shen & Zhou 2021).
//!
//! Each styled layer turns w into its style by an affine map; the eigenvectors of A·Aᵀ, with A all those maps side by
//! side (columns of length 1), are the directions along which styles move most.

use crate::error::{Error, Result};
use crate::stylegan2::{Generator, LayerId};
use crate::torch::catch;
use std::ops::RangeInclusive;
use tch::{Kind, Tensor};

/// Directions `[D, D]` of length 1, the strongest first, with their eigenvalues `[D]`, for the layers whose style
/// inputs are in `inputs`: convolutions, and the last ToRGB, as the authors do. float64, on the CPU. The sign is such that
/// the largest entry of a direction is positive: eigenvectors have none of their own.
///
/// # Errors
/// [`Error::Request`] when no layer is left.
pub fn directions(generator: &Generator, inputs: RangeInclusive<i64>) -> Result<(Tensor, Tensor)> {
    let config = generator.config();
    let last = config.layers().into_iter().rfind(|l| l.is_to_rgb());
    let taken = |l: &LayerId| {
        (l.is_conv() || Some(*l) == last) && l.style_index().is_some_and(|i| inputs.contains(&i))
    };
    let layers: Vec<LayerId> = config.layers().into_iter().filter(taken).collect();
    if layers.is_empty() {
        return Err(Error::request(
            format!("no layer has a style input of {} to {}", inputs.start(), inputs.end()),
            format!("this generator's style inputs are 0 to {}", config.num_styles() - 1),
        ));
    }
    catch("decomposing the weights", || {
        let weights: Vec<Tensor> = layers
            .iter()
            .map(|l| generator.params()[&format!("{l}.conv.modulation.weight")].detach())
            .collect();
        let rows = Tensor::cat(&weights, 0).to_kind(Kind::Double).to_device(tch::Device::Cpu); // [ΣC, D]
        let rows = &rows / rows.norm_scalaropt_dim(2.0, [1i64].as_slice(), true).clamp_min(1e-12);
        let (values, vectors) = rows.tr().matmul(&rows).linalg_eigh("L");
        let directions = vectors.tr().flip([0]); // ascending → descending, a row each
        let largest = directions.abs().argmax(1, true);
        let sign = directions.gather(1, &largest, false).sign();
        Ok((directions * sign, values.flip([0])))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stylegan2::Config;
    use tch::Device;

    fn generator() -> Generator {
        let mut config = Config::standard(32, 1);
        (config.style_dim, config.z_dim, config.mapping_width) = (16, 16, 16);
        config.mapping_layers = 2;
        config.channels = vec![8; 4];
        config.constant_channels = 8;
        Generator::random(config, 1, Kind::Float, Device::Cpu).unwrap()
    }

    #[test]
    fn directions_are_orthonormal_eigenvectors_the_strongest_first() {
        let (directions, values) = directions(&generator(), 0..=17).unwrap();
        let product = directions.matmul(&directions.tr());
        let unit = Tensor::eye(16, (Kind::Double, Device::Cpu));
        assert!((product - unit).abs().max().double_value(&[]) < 1e-9);
        let gaps = values.narrow(0, 0, 15) - values.narrow(0, 1, 15);
        assert!(gaps.min().double_value(&[]) >= 0.0);
        // Rows of length 1: the eigenvalues share out their number, 7 convolutions and a ToRGB of 8 channels.
        assert!((values.sum(Kind::Double).double_value(&[]) - 64.0).abs() < 1e-9);
    }

    #[test]
    fn no_unit_vector_moves_the_styles_more_than_the_first() {
        let g = generator();
        let (found, _) = directions(&g, 0..=3).unwrap();
        let weights: Vec<Tensor> = ["conv1", "convs.0", "convs.1", "convs.2"]
            .iter()
            .map(|l| g.params()[&format!("{l}.conv.modulation.weight")].to_kind(Kind::Double))
            .collect();
        let rows = Tensor::cat(&weights, 0);
        let rows = &rows / rows.norm_scalaropt_dim(2.0, [1i64].as_slice(), true);
        let reach = |v: &Tensor| rows.matmul(v).norm().double_value(&[]);
        let best = reach(&found.get(0));
        for i in 0..50 {
            let v = crate::rng::stream(0, i, "v").normal(&[16], Kind::Double, Device::Cpu);
            assert!(reach(&(&v / v.norm())) <= best + 1e-9);
        }
        assert!(directions(&g, 8..=9).is_err());
    }
}
