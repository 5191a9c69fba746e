//! Networks as graphs: TorchScript and ONNX.

use super::{Job, Written, agree, difference, mapping_file, python_name};
use crate::error::Result;
use crate::export::form::Form;
use crate::export::{onnx, torchscript};
use crate::models;
use crate::torch::TensorMap;
use std::collections::BTreeMap;

/// One archive, run again by libtorch.
pub(super) fn write_torchscript(job: &Job<'_>) -> Result<Written> {
    let form = Form::of(&job.generator, job.noise().form());
    torchscript::save(job.out, &form, job.psi(), &metadata(job))?;
    let (expected, w_plus) = job.images(&job.generator)?;
    let loaded = torchscript::Loaded::open(job.out)?;
    let from_z = difference(&loaded.forward(&job.z())?, &expected)?;
    let from_w = difference(&loaded.synthesis(&w_plus)?, &expected)?;
    let (name, [c, h, w]) = (python_name(job.out), form.image);
    let mut settings = settings(job, "unless another one is passed");
    settings.push((
        "Format",
        "TorchScript, float32; methods `forward(z, truncation)`, `w_plus(z, truncation)`, `mapping(z)`, \
         `synthesis(w_plus)`, for any batch and device"
            .into(),
    ));
    Ok(Written {
        files: vec![job.out.to_path_buf()],
        what: "A StyleGAN2 generator as one TorchScript archive, for PyTorch in Python and C++."
            .into(),
        settings,
        python: format!(
            "import torch\ngenerator = torch.jit.load({name})\nimages = generator(torch.randn(4, {}))  \
             # [4, {c}, {h}, {w}], about -1 to 1\nimages = generator.synthesis(generator.w_plus(torch.randn(4, {}), 1.0))",
            form.z_dim, form.z_dim,
        ),
        difference: agree(job.out, from_z.max(from_w))?,
    })
}

/// Two files, decoded and computed again.
pub(super) fn write_onnx(job: &Job<'_>) -> Result<Written> {
    let form = Form::of(&job.generator, job.noise().form());
    let (metadata, mapping) = (metadata(job), mapping_file(job.out));
    onnx::save_synthesis(job.out, &form, &metadata)?;
    onnx::save_mapping(&mapping, &form, job.psi(), &metadata)?;
    let (expected, w_plus) = job.images(&job.generator)?;
    let synthesis = onnx::Loaded::open(job.out)?;
    let of_w = |w| synthesis.run(TensorMap::from([("w_plus".to_owned(), w)]));
    let from_w = difference(&of_w(w_plus)?, &expected)?;
    let w = onnx::Loaded::open(&mapping)?.run(TensorMap::from([("z".to_owned(), job.z())]))?;
    let from_z = difference(&of_w(w)?, &expected)?;
    let (name, mapping_name) = (python_name(job.out), python_name(&mapping));
    let [c, h, w] = form.image;
    let mut settings = settings(job, "worked into the mapping network");
    settings.push((
        "Format",
        format!(
            "ONNX, opset {}, float32: `w_plus` [N, {l}, {d}] → `image` [N, {c}, {h}, {w}], and in {mapping_name} `z` [N, {}] \
             → `w_plus`; N is free",
            onnx::OPSET,
            form.z_dim,
            l = form.num_styles,
            d = form.style_dim,
        ),
    ));
    Ok(Written {
        files: vec![job.out.to_path_buf(), mapping],
        what: "The synthesis network of a StyleGAN2 generator as ONNX, and its mapping network beside it.".into(),
        settings,
        python: format!(
            "import numpy, onnxruntime\nmapping, synthesis = map(onnxruntime.InferenceSession, [{mapping_name}, {name}])\n\
             [w_plus] = mapping.run(None, {{\"z\": numpy.random.randn(4, {}).astype(\"float32\")}})\n\
             [images] = synthesis.run(None, {{\"w_plus\": w_plus}})  # [4, {c}, {h}, {w}], about -1 to 1",
            form.z_dim,
        ),
        difference: agree(job.out, from_z.max(from_w))?,
    })
}

fn settings(job: &Job<'_>, truncation: &str) -> Vec<(&'static str, String)> {
    let mut settings = vec![
        ("Truncation", format!("ψ {}, {truncation}", job.psi())),
        ("Noise", job.noise().name().to_owned()),
    ];
    settings.extend(job.generator.class().map(|class| ("Class", class.to_string())));
    settings
}

fn metadata(job: &Job<'_>) -> BTreeMap<String, String> {
    let mut metadata = job.stored.origin.metadata.clone();
    metadata.remove("torch.version");
    metadata.extend(models::generator_metadata(&job.generator));
    metadata.insert("generator_sha256".into(), job.stored.origin.sha256.clone());
    metadata.insert("truncation".into(), job.psi().to_string());
    metadata.insert("noise".into(), job.noise().name().to_owned());
    metadata
}
