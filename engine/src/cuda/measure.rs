//! What `benches/cuda` and the checks on a device measure; no part of a render.

use std::io::Write;
use std::sync::Arc;
use std::time::Instant;

use super::attention::{self, Bias, Inputs, attention};
use super::linear::{Finish, Linear, Rows};
use super::{Decoder, Gpu, Numbers, Transformer, memory};
use crate::error::Error;
use crate::files::Files;
use crate::kernels::Heads;
use crate::models::transformers::ltx::{Config, Grid};
use crate::parallel::{Group, Split};
use crate::settings::Settings;
use crate::weights::Source;

/// Appends a row to the file that `CROFT_CHECK_OUT` names, and says it.
///
/// # Panics
/// When the file cannot be written.
#[allow(clippy::print_stdout, reason = "what is measured is shown")]
pub fn row(section: &str, name: &str, shape: &str, (value, unit): (f64, &str), bound: Option<&str>) {
    let row = serde_json::json!({
        "section": section, "name": name, "shape": shape, "value": value, "unit": unit, "bound": bound, "ok": null, "note": "",
    });
    println!("{section}: {name} {shape}: {value:.4} {unit} {}", bound.unwrap_or_default());
    if let Some(out) = std::env::var_os("CROFT_CHECK_OUT") {
        let file = std::fs::File::options().append(true).create(true).open(out);
        file.and_then(|mut file| file.write_all(format!("{row}\n").as_bytes())).expect("room for a row");
    }
}

/// Seconds of `work` from idle to idle: the median of `times`, after two that are not counted.
///
/// # Errors
/// Those of `work`.
pub fn seconds(gpu: &Gpu, times: usize, mut work: impl FnMut() -> Result<(), Error>) -> Result<f64, Error> {
    let mut taken = Vec::new();
    for _ in 0..times + 2 {
        gpu.wait()?;
        let began = Instant::now();
        work()?;
        gpu.wait()?;
        taken.push(began.elapsed().as_secs_f64());
    }
    let counted = &mut taken[2..];
    counted.sort_by(f64::total_cmp);
    Ok(counted[counted.len() / 2])
}

/// Numbers that look like weights and activations: of random sign and size.
fn noise(gpu: &Arc<Gpu>, len: usize, seed: u64) -> Result<Numbers, Error> {
    let piece: Vec<f32> = crate::noise::Generator::new(seed).normal(len.min(1 << 20));
    let mut made = Numbers::room(gpu, len, "noise")?;
    for at in (0..len).step_by(piece.len().max(1)) {
        made.fill_from(at, &piece[..piece.len().min(len - at)])?;
    }
    Ok(made)
}

/// Bytes read and written a second by a copy on the device.
///
/// # Errors
/// `Device`, `DeviceMemory`.
pub fn copy_rate(gpu: &Arc<Gpu>) -> Result<f64, Error> {
    gpu.enter()?;
    let bytes = 2_usize << 30;
    let of = Numbers::room(gpu, bytes / gpu.precision().bytes(), "a copy")?;
    let half = bytes / 2;
    let took = seconds(gpu, 10, || memory::copy(gpu, of.at(), of.at() + half as u64, half))?;
    Ok(bytes as f64 / took)
}

/// Operations a second of a product of two square matrices of side `n`.
///
/// # Errors
/// `Device`, `DeviceMemory`.
pub fn matmul_rate(gpu: &Arc<Gpu>, n: usize) -> Result<f64, Error> {
    gpu.enter()?;
    let (x, out) = (noise(gpu, n * n, 1)?, Numbers::room(gpu, n * n, "a product")?);
    let layer = Linear::of_numbers(noise(gpu, n * n, 2)?, [n, n]);
    let rows = Rows { at: x.at(), rows: n, stride: n };
    let took = seconds(gpu, 20, || layer.write(rows, out.at(), n, Finish::Nothing))?;
    Ok(2.0 * (n as f64).powi(3) / took)
}

/// Bytes a second from pinned memory to the device.
///
/// # Errors
/// `Device`, `DeviceMemory`.
pub fn upload_rate(gpu: &Arc<Gpu>) -> Result<f64, Error> {
    gpu.enter()?;
    let bytes = 1_usize << 30;
    let to = Numbers::room(gpu, bytes / gpu.precision().bytes(), "a copy")?;
    let pinned = super::upload::Pinned::new(bytes)?;
    let took = seconds(gpu, 5, || pinned.copy_to(gpu, to.at()))?;
    Ok(bytes as f64 / took)
}

/// Operations a second of one attention, queries and keys being the same `tokens`.
///
/// # Errors
/// `Device`, `DeviceMemory`.
pub fn attention_rate(gpu: &Arc<Gpu>, [batch, heads, tokens, head]: [usize; 4]) -> Result<f64, Error> {
    gpu.enter()?;
    let width = heads * head;
    let all = noise(gpu, 3 * batch * tokens * width, 3)?;
    let out = Numbers::room(gpu, batch * tokens * width, "an attention")?;
    let part =
        |i: usize| attention::Rows { at: all.from(i * width), token: 3 * width, batch: tokens * 3 * width };
    let to = attention::Rows { at: out.at(), token: width, batch: tokens * width };
    let inputs = Inputs { q: part(0), k: part(1), v: part(2) };
    let size = Heads { batch, heads, head, queries: tokens, keys: tokens, scale: 1.0 / (head as f32).sqrt() };
    let took = seconds(gpu, 10, || attention(gpu, size, inputs, to, Bias::None))?;
    Ok(4.0 * (batch * width) as f64 * (tokens as f64).powi(2) / took)
}

/// A transformer alone.
#[derive(Debug)]
pub struct Calls {
    gpu: Arc<Gpu>,
    transformer: Transformer,
    config: Config,
    /// Seconds that loading took, and bytes of the files.
    pub loaded: (f64, u64),
}

impl Calls {
    /// Loads `transformer` of a folder in the diffusers layout.
    ///
    /// # Errors
    /// As `Pipeline::load`.
    pub fn load(gpu: &Arc<Gpu>, model: &str) -> Result<Self, Error> {
        let files = Files::open(model)?;
        let config = Config::read(&Settings::read(&files, "transformer/config.json")?)?;
        let mut source = Source::open(&files, "transformer/diffusion_pytorch_model")?;
        let began = Instant::now();
        let transformer = Transformer::load(gpu, config.clone(), &mut source, &Split::whole())?;
        let loaded = (began.elapsed().as_secs_f64(), source.bytes());
        Ok(Self { gpu: Arc::clone(gpu), transformer, config, loaded })
    }

    /// Seconds of one forward pass for a clip of latents of `size` with `branches` of `text` tokens, the last of which has a
    /// quarter of them masked, and its operations: of the linear layers of all blocks and their attention.
    ///
    /// # Errors
    /// `Device`, `DeviceMemory`, `NanOutput`.
    pub fn measure(
        &self,
        size: [usize; 3],
        branches: usize,
        text: usize,
        times: usize,
    ) -> Result<(f64, f64), Error> {
        let Config { heads, head, layers, in_channels, caption_channels, .. } = self.config;
        let (width, tokens) = (heads * head, size.iter().product::<usize>());
        let mut random = crate::noise::Generator::new(5);
        let states: Vec<f32> = random.normal(text * caption_channels);
        let latents: Vec<f32> = random.normal(tokens * in_channels);
        let mut texts = vec![states.as_slice(); branches];
        if branches > 1 {
            texts[0] = &states[..states.len() / 4 * 3 / caption_channels * caption_channels];
        }
        let grid = Grid { size, step: [8.0 / 25.0, 32.0, 32.0] };
        let mut group = Group::solo();
        let mut context = self.transformer.context(&texts, grid, &group)?;
        let mut timestep = 1000.0;
        let mut velocity = Vec::new();
        let took = seconds(&self.gpu, times, || {
            timestep *= 0.95;
            velocity = self.transformer.forward(&latents, timestep, &mut context, &mut group, None)?;
            Ok(())
        })?;
        if !velocity.iter().all(|v| v.is_finite()) || velocity.iter().all(|v| *v == 0.0) {
            return Err(Error::NanOutput { stage: crate::progress::Stage::Denoise, step: None });
        }
        let (d, n, t) = (width as f64, tokens as f64, text as f64);
        let each = 2.0 * d * d * (14.0 * n + 2.0 * t) + 4.0 * d * n * (n + t);
        Ok((took, branches as f64 * layers as f64 * each))
    }
}

/// A decoder alone.
#[derive(Debug)]
pub struct Decoding {
    decoder: Decoder,
    channels: usize,
}

impl Decoding {
    /// Loads `vae` of a folder in the diffusers layout.
    ///
    /// # Errors
    /// As `Pipeline::load`.
    pub fn load(gpu: &Arc<Gpu>, model: &str) -> Result<Self, Error> {
        let files = Files::open(model)?;
        let settings = Settings::read(&files, "vae/config.json")?;
        let channels = settings.size("latent_channels", Some(128))?;
        let mut source = Source::open(&files, "vae/diffusion_pytorch_model")?;
        Ok(Self { decoder: Decoder::new(gpu, settings.value(), &mut source)?, channels })
    }

    /// Seconds of decoding latents of `size`.
    ///
    /// # Errors
    /// `Device`, `DeviceMemory`, `NanOutput`.
    pub fn measure(&self, gpu: &Gpu, size: [usize; 3], times: usize) -> Result<f64, Error> {
        let latents = crate::noise::Generator::new(6).normal(self.channels * size.iter().product::<usize>());
        let mut frames = Vec::new();
        let took = seconds(gpu, times, || {
            frames = self.decoder.decode(&latents, size, Some(0.05))?;
            Ok(())
        })?;
        let is_sound = frames.iter().all(|v| v.is_finite());
        if is_sound {
            Ok(took)
        } else {
            Err(Error::NanOutput { stage: crate::progress::Stage::Decode, step: None })
        }
    }
}
