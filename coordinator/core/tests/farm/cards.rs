//! Plans of specs, with the cards of models that are not there.

use std::collections::BTreeMap;

use croft_core::{
    model_card::{Makes, ModelCard, ParamKind, ParamRule, ParamValue},
    plan::Plan,
    spec::{self, Source},
    split::Shape,
};

pub(crate) fn plan(text: &str) -> Plan {
    let files = BTreeMap::new();
    let spec =
        spec::parse(&Source { name: "test.yaml", text, files: &files, set: &[] }).expect("a good spec");
    let cards = spec.models().into_iter().map(|name| (name.clone(), card(&name))).collect();
    Plan::new(spec, &cards).expect("a good plan")
}

fn card(name: &str) -> ModelCard {
    let steps = ParamRule {
        kind: ParamKind::Whole { min: 1, max: 1000, multiple: 1, remainder: 0 },
        default: Some(ParamValue::Number(10.0)),
    };
    ModelCard {
        name: name.to_owned(),
        family: "test".to_owned(),
        digest: format!("digest-of-{name}"),
        parameters: 1,
        weights_bytes: 1,
        makes: if name == "nothing" { Makes::Nothing } else { Makes::Clip },
        params: match name {
            "film" => large_params(steps),
            _ => BTreeMap::from([("steps".to_owned(), steps)]),
        },
        prompt_bytes_max: 10_000,
        ranks_max: if name == "film" { 32 } else { 64 },
        shape: (name == "film").then(large),
    }
}

/// LTX-Video 13B, as its card says.
pub(crate) fn large() -> Shape {
    Shape {
        text: 4_762_310_656,
        blocks: 12_889_423_872,
        rest: 153_145_472,
        decoder: 552_814_641,
        layers: 48,
        heads: 32,
        text_heads: 64,
        text_layers: 24,
        width: 4_096,
        channels: 128,
        frames_per_latent: 8,
        pixels_per_latent: 32,
        decoded_per_pixel: 8,
    }
}

fn large_params(steps: ParamRule) -> BTreeMap<String, ParamRule> {
    let whole = |default| ParamRule {
        kind: ParamKind::Whole { min: 1, max: 1025, multiple: 1, remainder: 0 },
        default: Some(ParamValue::Number(default)),
    };
    let size = ParamRule {
        kind: ParamKind::Size { multiple: 32, min: 32, max: 2048 },
        default: Some(ParamValue::Text("768x512".to_owned())),
    };
    let tiling = ParamRule { kind: ParamKind::Flag, default: Some(ParamValue::Flag(false)) };
    let params = [
        ("steps", steps),
        ("num_frames", whole(121.0)),
        ("guidance", whole(3.0)),
        ("size", size),
        ("vae_tiling", tiling),
    ];
    params.into_iter().map(|(name, rule)| (name.to_owned(), rule)).collect()
}
