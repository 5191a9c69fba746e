//! A generator as rosinality's code, and the original StyleGAN-NADA, read it: a strict state dictionary.

use crate::rng;
use crate::stylegan2::{Config, is_usual_filter, ops};
use crate::torch::TensorMap;
use tch::{Device, Kind, Tensor};

/// What a state dictionary has and the source had not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Added {
    /// Noise maps: those that `nada` makes images with where a file has none.
    pub noises: usize,
    /// Filter kernels, which are the same in every generator.
    pub kernels: usize,
}

/// The state dictionary of `tensors`, complete: noise maps and filter kernels that are missing are added, `latent_avg`
/// is given apart. Rosinality loads it with `strict=True`.
pub fn state_dict(config: &Config, mut tensors: TensorMap) -> (TensorMap, Option<Tensor>, Added) {
    let mut added = Added::default();
    let latent_avg = tensors.remove("latent_avg");
    let kind = tensors["input.input"].kind();
    for (name, shape) in config.optional_shapes() {
        if name == "latent_avg" || tensors.contains_key(&name) {
            continue;
        }
        let tensor = match name.strip_prefix("noises.noise_").map(str::parse::<u64>) {
            Some(Ok(i)) => {
                added.noises += 1;
                rng::stream(0, i, "noise buffer").normal(&shape, Kind::Float, Device::Cpu)
            }
            _ => {
                added.kernels += 1;
                ops::usual_filter()
            }
        };
        tensors.insert(name, tensor.to_kind(kind));
    }
    (tensors, latent_avg, added)
}

/// A conditional generator that draws one class only, as an ordinary one: the class is the same behind every z, and so
/// a part of the first bias. rosinality's code knows no classes.
///
/// `class`: the normalised embedding, `[1, E]`.
pub fn of_one_class(config: &mut Config, tensors: &mut TensorMap, class: &Tensor) {
    let [weight, bias] =
        ["style.1.weight", "style.1.bias"].map(|name| tensors[name].shallow_clone());
    // In float64, so that nothing but the last rounding is lost. The layer divides by the root of its inputs' number,
    // which is a smaller one now.
    let all = weight.to_kind(Kind::Double);
    let inputs = all.size()[1] as f64;
    let own = all.narrow(1, 0, config.z_dim) * (config.z_dim as f64 / inputs).sqrt();
    let behind = all.narrow(1, config.z_dim, config.embedding_dim);
    let class = class.detach().to_device(Device::Cpu).to_kind(Kind::Double).squeeze_dim(0);
    let moved = bias.to_kind(Kind::Double) + behind.matmul(&class) / inputs.sqrt();
    tensors.insert("style.1.weight".into(), own.to_kind(weight.kind()).contiguous());
    tensors.insert("style.1.bias".into(), moved.to_kind(bias.kind()));
    tensors.retain(|name, _| !name.starts_with("embed."));
    (config.classes, config.embedding_dim) = (0, 0);
}

/// The lines of Python that load a file of [`state_dict`] into the class `Generator` of rosinality's code, and make
/// images. Its widths are fixed by the resolution; where those of the file are others, its layers are made anew.
pub fn python(config: &Config, file: &str, has_average: bool) -> String {
    let Config { resolution, z_dim, style_dim, mapping_layers, .. } = config;
    let load = format!(
        "checkpoint = torch.load({file}, weights_only=True)\nstate = checkpoint[\"g_ema\"]"
    );
    let truncated = if has_average {
        ", truncation=0.7, truncation_latent=checkpoint[\"latent_avg\"]"
    } else {
        ""
    };
    let make = format!(
        "generator.load_state_dict(state)\nwith torch.no_grad():\n    \
         images, _ = generator([torch.randn(4, {z_dim})], randomize_noise=False{truncated})  # [4, 3, {resolution}, {resolution}], about -1 to 1"
    );
    let origin =
        "model.py of rosinality/stylegan2-pytorch; in the original StyleGAN-NADA: model.sg2_model";
    if let Some(multiplier) = multiplier(config) {
        let multiplier = if multiplier == 2 {
            String::new()
        } else {
            format!(", channel_multiplier={multiplier}")
        };
        return format!(
            "import torch\nfrom model import Generator  # {origin}\n\n{load}\n\
             generator = Generator({resolution}, {style_dim}, {mapping_layers}{multiplier})\n{make}"
        );
    }
    let table: Vec<String> =
        config.channels.iter().enumerate().map(|(b, c)| format!("{}: {c}", 4 << b)).collect();
    let own = (1..=*mapping_layers).filter_map(|i| {
        let input = if i == 1 { *z_dim } else { config.mapping_width };
        let output = if i == *mapping_layers { *style_dim } else { config.mapping_width };
        ((input, output) != (*style_dim, *style_dim)).then(|| {
            format!("generator.style[{i}] = EqualLinear({input}, {output}, lr_mul=0.01, activation=\"fused_lrelu\")\n")
        })
    });
    let own: String = own.collect();
    let linear = if own.is_empty() { "" } else { "EqualLinear, " };
    let layers = config.num_noises();
    format!(
        "import torch\nfrom model import ConstantInput, {linear}Generator, StyledConv, ToRGB  # {origin}\n\n{load}\n\
         # Its class has other widths: these are the channels of this file, by resolution.\n\
         channels = {{{table}}}\n\
         generator = Generator(8, {style_dim}, {mapping_layers})  # grows below\n\
         {own}generator.size, generator.log_size, generator.num_layers, generator.n_latent = {resolution}, {log}, {layers}, {styles}\n\
         generator.channels = channels\n\
         generator.input = ConstantInput({constant})\n\
         generator.conv1 = StyledConv({constant}, channels[4], 3, {style_dim})\n\
         generator.to_rgb1 = ToRGB(channels[4], {style_dim}, upsample=False)\n\
         generator.convs, generator.to_rgbs = torch.nn.ModuleList(), torch.nn.ModuleList()\n\
         for size in list(channels)[1:]:\n    \
             generator.convs.append(StyledConv(channels[size // 2], channels[size], 3, {style_dim}, upsample=True))\n    \
             generator.convs.append(StyledConv(channels[size], channels[size], 3, {style_dim}))\n    \
             generator.to_rgbs.append(ToRGB(channels[size], {style_dim}))\n\
         for layer in range({layers}):\n    \
             generator.noises.register_buffer(f\"noise_{{layer}}\", torch.empty_like(state[f\"noises.noise_{{layer}}\"]))\n\
         {make}",
        table = table.join(", "),
        log = resolution.ilog2(),
        styles = config.num_styles(),
        constant = config.constant_channels,
    )
}

/// The `channel_multiplier` by which rosinality's class has the widths of this generator, if one does.
pub fn multiplier(config: &Config) -> Option<i64> {
    // Up to 32 px its table does not follow the multiplier.
    let width = |size: i64, multiplier| if size <= 32 { 512 } else { 16_384 / size * multiplier };
    let usual = |multiplier: &i64| {
        config.channels.iter().enumerate().all(|(b, own)| *own == width(4 << b, *multiplier))
    };
    let square = config.z_dim == config.style_dim && config.mapping_width == config.style_dim;
    let plain =
        square && config.constant_channels == config.channels[0] && config.resolution <= 1024;
    [2, 1, 4, 8].into_iter().find(usual).filter(|_| plain)
}

/// Without the filter kernels that say nothing that is not known.
pub fn without_kernels(mut tensors: TensorMap) -> TensorMap {
    tensors.retain(|name, tensor| !(name.ends_with(".kernel") && is_usual_filter(tensor)));
    tensors
}
