//! Every published layout of the family builds from its configuration with no tensor missing and none left over.
//! The lists of names and shapes were taken from diffusers' and transformers' own classes.

use std::collections::BTreeMap;
use std::io::Read;

use serde::Deserialize;
use serde_json::Value;

use super::golden;
use crate::error::Error;
use crate::models::autoencoders::ltx::Decoder;
use crate::models::text::{T5, T5Config};
use crate::models::transformers::ltx::{Config, Transformer};
use crate::parallel::Split;
use crate::settings::Settings;
use crate::weights::Source;

#[derive(Deserialize)]
struct Published {
    config: Value,
    tensors: BTreeMap<String, Vec<usize>>,
}

fn builds(name: &str, build: impl FnOnce(&Settings, &mut Source) -> Result<(), Error>) -> u64 {
    let file = std::fs::File::open(golden("real").join(format!("{name}.json.gz"))).unwrap();
    let mut json = String::new();
    flate2::read::GzDecoder::new(file).read_to_string(&mut json).unwrap();
    let published: Published = serde_json::from_str(&json).unwrap();
    let expected: usize = published.tensors.values().map(|shape| shape.iter().product::<usize>()).sum();
    let mut source = Source::shapes(name, published.tensors);
    let settings = Settings::new("config.json", published.config).unwrap();
    build(&settings, &mut source).unwrap();
    source.finish().unwrap();
    assert_eq!(source.parameters(), expected as u64);
    source.parameters()
}

fn transformer(settings: &Settings, source: &mut Source) -> Result<(), Error> {
    Transformer::load(Config::read(settings)?, source, &Split::whole()).map(drop)
}

/// Numbers in the blocks of a published transformer; plans reckon with them.
fn in_blocks(name: &str) -> u64 {
    let mut found = 0;
    builds(name, |settings, source| {
        let loaded = Transformer::load(Config::read(settings)?, source, &Split::whole())?;
        found = loaded.numbers_in_blocks();
        Ok(())
    });
    found
}

fn autoencoder(settings: &Settings, source: &mut Source) -> Result<(), Error> {
    for statistic in ["latents_mean", "latents_std"] {
        source.take(statistic, &[settings.size("latent_channels", None)?])?;
    }
    Decoder::new(settings.value(), source).map(drop)
}

#[test]
fn both_transformers_build() {
    assert_eq!(builds("ltx-video-2b-transformer", transformer) / 1_000_000, 1_923);
    assert_eq!(builds("ltx-video-13b-transformer", transformer) / 1_000_000, 13_042);
    assert_eq!(in_blocks("ltx-video-13b-transformer"), 12_889_423_872);
}

#[test]
fn all_autoencoders_build() {
    for age in ["0.9.0", "0.9.1", "0.9.5"] {
        builds(&format!("ltx-video-vae-{age}"), autoencoder);
    }
}

#[test]
fn the_text_encoder_builds() {
    let t5 = |settings: &Settings, source: &mut Source| {
        T5::load(T5Config::read(settings)?, source, &Split::whole()).map(drop)
    };
    builds("t5-v1_1-xxl-encoder", t5);
}
