//! The narrow token table of the CLIPs that ship, against the full one that it stands for.

use nada::clip::tokenizer::{Tokenizer, VOCABULARY};
use nada::error::Result;
use nada::models;
use std::path::Path;
use tch::{Device, Kind, Tensor};

const IDS: &str = "token_embedding.ids";
const ROWS: &str = "token_embedding.rows";
const OTHER: &str = "token_embedding.other";

type Named = Vec<(String, Tensor)>;

fn shipped() -> Named {
    let file = format!("{}/checkpoints/clip_vit.safetensors", env!("CARGO_MANIFEST_DIR"));
    Tensor::read_safetensors(file).unwrap()
}

fn at<'a>(named: &'a mut Named, name: &str) -> &'a mut Tensor {
    &mut named.iter_mut().find(|(known, _)| known == name).unwrap().1
}

/// Text features of a few phrases, by the CLIP that these tensors make.
fn features(named: &Named) -> Result<Tensor> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("clip.safetensors");
    Tensor::write_safetensors(named, &file).unwrap();
    features_of(&file)
}

fn features_of(file: &Path) -> Result<Tensor> {
    let (clip, _) = models::open_clip(file, Kind::Float, Device::Cpu)?;
    let texts = ["a sketch", "a werewolf in a bathtub", "golden statue of a person"];
    let tokens = texts.map(|t| Tensor::from_slice(&Tokenizer::openai().tokenize(t, 77).unwrap()));
    Ok(clip.encode_text(&Tensor::stack(&tokens, 0)))
}

#[test]
fn a_narrow_table_equals_the_full_one_that_it_stands_for() {
    let mut full = shipped();
    let [ids, rows, other] = [IDS, ROWS, OTHER].map(|name| at(&mut full, name).shallow_clone());
    let mut table = other.repeat([VOCABULARY as i64, 1]);
    let _ = table.index_copy_(0, &ids.to_kind(Kind::Int64), &rows);
    full.retain(|(name, _)| ![IDS, ROWS, OTHER].contains(&name.as_str()));
    full.push(("token_embedding.weight".into(), table));
    let (narrow, full) = (features(&shipped()).unwrap(), features(&full).unwrap());
    assert_eq!(narrow, full);
    assert!((narrow.get(0) - narrow.get(2)).abs().max().double_value(&[]) > 1e-3);
}

#[test]
fn half_a_table_and_impossible_ids_are_refused() {
    let refusal = |change: &dyn Fn(&mut Named)| {
        let mut named = shipped();
        change(&mut named);
        features(&named).unwrap_err().to_string()
    };
    let message = refusal(&|named| named.retain(|(name, _)| name != OTHER));
    assert!(message.contains("belong together"), "{message}");
    let message = refusal(&|named| *at(named, ROWS) = at(named, ROWS).narrow(0, 0, 5).copy());
    assert!(message.contains("do not fit"), "{message}");
    let message = refusal(&|named| {
        // Small in the file, terabytes when spread.
        let wide = |name: &str| if name == OTHER { vec![1 << 20] } else { vec![1, 1 << 20] };
        for name in [ROWS, OTHER] {
            *at(named, name) = Tensor::zeros(wide(name), (Kind::Half, Device::Cpu));
        }
        *at(named, IDS) = at(named, IDS).narrow(0, 0, 1).copy();
    });
    assert!(message.contains("W at most 4096"), "{message}");
    let message = refusal(&|named| *at(named, IDS) = at(named, IDS).to_kind(Kind::Float));
    assert!(message.contains("expected integers"), "{message}");
    let message = refusal(&|named| *at(named, IDS) = at(named, IDS).copy() + 40_000);
    assert!(message.contains("tokens are 0 to 49407"), "{message}");
}
