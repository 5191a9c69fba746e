//! Networks of other programs that people bring along, by their telling names: none can be used, but each can be named.

use super::telling::begins;
use std::collections::BTreeSet;

/// What tells a network: each of its marks must be found.
struct Stranger {
    what: &'static str,
    marks: &'static [Mark],
}

/// A telling part of a name.
enum Mark {
    /// A name that begins so.
    Start(&'static str),
    /// A name with this in it.
    Part(&'static str),
}

use Mark::{Part, Start};

/// Relatives of StyleGAN2, which share some of its names but not its arithmetic: told before it.
const RELATIVES: &[Stranger] = &[
    Stranger { what: "a SWAGAN generator", marks: &[Start("to_rgbs.0.iwt."), Start("conv1.")] },
    Stranger { what: "a SWAGAN discriminator", marks: &[Start("dwt."), Start("from_rgbs.0.")] },
    Stranger {
        what: "a StyleGAN-XL generator",
        marks: &[Start("synthesis."), Start("mapping.embed_proj.")],
    },
    Stranger {
        what: "a StyleGAN-T generator",
        marks: &[Start("synthesis."), Start("mapping.clip.")],
    },
    Stranger { what: "a StyleGAN3 generator", marks: &[Start("synthesis.L0_")] },
    Stranger { what: "a StyleGAN3 generator", marks: &[Start("synthesis.input.")] },
    Stranger {
        what: "a generator of genforce",
        marks: &[Start("synthesis.layer0."), Start("mapping.dense0.")],
    },
    Stranger {
        what: "a generator of MMGeneration",
        marks: &[Start("style_mapping."), Start("constant_input.")],
    },
    Stranger {
        what: "a generator of BasicSR or GFPGAN",
        marks: &[Start("constant_input."), Start("style_conv1.")],
    },
    Stranger {
        what: "a generator of MobileStyleGAN",
        marks: &[Start("input."), Start("to_rgb."), Part(".conv1.dwt")],
    },
    Stranger {
        what: "a CIPS generator",
        marks: &[Start("lff."), Start("emb."), Start("to_rgbs.")],
    },
];

/// All others, the narrower before the wider.
const OTHERS: &[Stranger] = &[
    Stranger {
        what: "a generator of lucidrains' stylegan2-pytorch",
        marks: &[Start("initial_conv."), Start("blocks.0.to_style1.")],
    },
    Stranger {
        what: "a generator of lucidrains' stylegan2-pytorch",
        marks: &[Start("blocks.0.to_style1."), Start("blocks.0.to_rgb.")],
    },
    Stranger {
        what: "a discriminator of lucidrains' stylegan2-pytorch",
        marks: &[Start("blocks.0.conv_res."), Start("to_logit.")],
    },
    Stranger {
        what: "a generator of lucidrains' lightweight-gan",
        marks: &[Start("res_layers."), Start("layers."), Start("initial_conv.")],
    },
    Stranger {
        what: "a GigaGAN upsampler (AuraSR)",
        marks: &[Start("style_to_conv_modulations."), Start("downs.")],
    },
    Stranger {
        what: "a GigaGAN generator",
        marks: &[Start("style_to_conv_modulations."), Start("layers.")],
    },
    Stranger { what: "a GigaGAN generator", marks: &[Start("style_to_conv_modulations.")] },
    Stranger {
        what: "a GigaGAN discriminator",
        marks: &[Start("text_to_conv_conditioning."), Start("layers.")],
    },
    Stranger {
        what: "a GigaGAN discriminator",
        marks: &[Start("layers.0."), Part(".residual_fn."), Part(".to_logits.")],
    },
    Stranger { what: "a vision-aided discriminator", marks: &[Start("layer_discriminators.")] },
    Stranger {
        what: "a StyleGAN1 generator",
        marks: &[Start("generator.progression.0."), Start("style.1.linear.")],
    },
    Stranger {
        what: "a StyleGAN1 generator",
        marks: &[Start("progression.0.adain1."), Start("to_rgb.0.")],
    },
    Stranger {
        what: "a StyleGAN1 generator",
        marks: &[Start("g_synthesis.blocks.4x4."), Start("g_mapping.")],
    },
    Stranger {
        what: "a StyleGAN1 or progressive discriminator",
        marks: &[Start("progression.0."), Start("from_rgb.0.")],
    },
    Stranger { what: "a ProGAN generator", marks: &[Start("progression_4."), Start("to_rgb_4.")] },
    Stranger { what: "a ProGAN generator", marks: &[Start("progression.0."), Start("to_rgb.0.")] },
    Stranger {
        what: "a ProGAN generator",
        marks: &[Start("scaleLayers.0."), Start("toRGBLayers.0.")],
    },
    Stranger { what: "a ProGAN generator", marks: &[Start("4x4.Dense."), Start("ToRGB_lod")] },
    Stranger {
        what: "a ProGAN generator",
        marks: &[Start("initial_block."), Start("prog_blocks.0."), Start("rgb_layers.0.")],
    },
    Stranger {
        what: "a BigGAN-deep generator",
        marks: &[Start("gen_z."), Start("conv_to_rgb."), Start("layers.0.")],
    },
    Stranger {
        what: "a BigGAN generator",
        marks: &[Start("blocks.0.0.conv1."), Start("linear."), Start("output_layer.")],
    },
    Stranger {
        what: "a BigGAN discriminator",
        marks: &[Start("blocks.0.0.conv1."), Start("linear."), Start("embed.")],
    },
    Stranger { what: "a GALIP generator", marks: &[Start("fc_code."), Start("GBlocks.0.")] },
    Stranger {
        what: "a GALIP or DF-GAN discriminator",
        marks: &[Start("DBlocks.0."), Part("conv_r.")],
    },
    Stranger { what: "a DF-GAN generator", marks: &[Start("GBlocks.0."), Start("fc.")] },
    Stranger {
        what: "a FastGAN generator",
        marks: &[Start("init.init."), Start("feat_8."), Start("to_big.")],
    },
    Stranger {
        what: "a FastGAN (Projected GAN) generator",
        marks: &[Start("synthesis.init."), Start("synthesis.feat_8.")],
    },
    Stranger {
        what: "a FastGAN discriminator",
        marks: &[Start("down_from_big."), Start("rf_big.")],
    },
    Stranger {
        what: "an EG3D generator",
        marks: &[Start("backbone.synthesis."), Start("superresolution.")],
    },
    Stranger {
        what: "a CycleGAN or pix2pix generator",
        marks: &[Start("model.1."), Part(".conv_block.1.")],
    },
    Stranger { what: "a DCGAN", marks: &[Start("main.0."), Start("main.1.running_mean")] },
    Stranger { what: "a LoRA of Stable Diffusion", marks: &[Start("lora_unet_")] },
    Stranger { what: "a LoRA of Stable Diffusion", marks: &[Start("lora_te")] },
    Stranger { what: "a LoRA", marks: &[Part(".lora_A.")] },
    Stranger { what: "a LoRA", marks: &[Part(".lora_down.")] },
    Stranger { what: "a LoRA", marks: &[Part("_lora.down.")] },
    Stranger {
        what: "Stable Diffusion, or another latent diffusion model",
        marks: &[Start("model.diffusion_model.input_blocks."), Start("first_stage_model.")],
    },
    Stranger { what: "a diffusion UNet", marks: &[Start("diffusion_model.input_blocks.")] },
    Stranger {
        what: "a diffusion UNet",
        marks: &[Start("input_blocks.0."), Start("time_embed."), Start("middle_block.")],
    },
    Stranger {
        what: "a diffusion UNet",
        marks: &[Start("conv_in."), Start("down_blocks.0."), Start("time_embedding.")],
    },
    Stranger {
        what: "a diffusion UNet",
        marks: &[Start("init_conv."), Start("downs.0."), Start("time_mlp.")],
    },
    Stranger {
        what: "a diffusion transformer",
        marks: &[Start("double_blocks.0."), Start("img_in.")],
    },
    Stranger {
        what: "a diffusion transformer",
        marks: &[Start("x_embedder."), Start("t_embedder."), Start("final_layer.")],
    },
    Stranger {
        what: "a diffusion transformer",
        marks: &[Start("transformer_blocks.0."), Start("proj_out.")],
    },
    Stranger {
        what: "a diffusion prior (unCLIP)",
        marks: &[Start("prd_emb"), Start("clip_img_proj.")],
    },
    Stranger {
        what: "a diffusion prior (DALL·E 2)",
        marks: &[Start("causal_transformer.layers.0.")],
    },
    Stranger {
        what: "a diffusion prior (Shifted Diffusion)",
        marks: &[Start("clip_sentence_proj."), Start("final_emb")],
    },
    Stranger {
        what: "a VQGAN",
        marks: &[Start("encoder.conv_in."), Start("decoder.conv_in."), Start("quantize.")],
    },
    Stranger { what: "a VAE", marks: &[Start("encoder.conv_in."), Start("decoder.conv_in.")] },
    Stranger {
        what: "a StyleFlow network",
        marks: &[Start("chain.0."), Part("odefunc.diffeq.layers.0.")],
    },
    Stranger {
        what: "an LPIPS or VGG network",
        marks: &[Start("features.0."), Start("features.3."), Start("classifier.")],
    },
    Stranger { what: "LPIPS", marks: &[Start("lin0.model.1."), Start("lin4.model.1.")] },
    Stranger {
        what: "a ResNet for classification",
        marks: &[Start("layer1.0.conv1."), Start("layer4.0.conv1."), Start("bn1.")],
    },
    Stranger {
        what: "an Inception network",
        marks: &[Start("Conv2d_1a_3x3."), Start("Mixed_5b.")],
    },
    Stranger {
        what: "a DINO or ViT network",
        marks: &[Start("patch_embed.proj."), Start("blocks.0.attn.")],
    },
    Stranger {
        what: "a language model",
        marks: &[Start("model.embed_tokens."), Start("model.layers.0.")],
    },
];

/// A relative of StyleGAN2 that has such names.
pub(super) fn relative(names: &BTreeSet<&str>) -> Option<&'static str> {
    told(RELATIVES, names)
}

/// Another network that has such names.
pub(super) fn name(names: &BTreeSet<&str>) -> Option<&'static str> {
    told(RELATIVES, names).or_else(|| told(OTHERS, names))
}

/// Whether the own names of one of these may begin here; `whole` is true for the whole name in its dictionary.
pub(super) fn may_begin(name: &str, whole: bool) -> bool {
    RELATIVES.iter().chain(OTHERS).any(|stranger| match stranger.marks {
        [Start(start), ..] => name.starts_with(start),
        [Part(part), ..] => whole && name.contains(part),
        [] => false,
    })
}

/// A name that stands alone in a message.
pub(super) fn sentence(what: &str) -> String {
    format!("{what}, which is not supported (StyleGAN2's are)")
}

fn told(table: &'static [Stranger], names: &BTreeSet<&str>) -> Option<&'static str> {
    let found = |mark: &Mark| match mark {
        Start(start) => begins(names, start),
        Part(part) => names.iter().any(|name| name.contains(part)),
    };
    table.iter().find(|stranger| stranger.marks.iter().all(found)).map(|stranger| stranger.what)
}
