//! The sections, each a few rows.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use croft_coordinator::registry;
use croft_core::split::{self as plan, Shot};
use croft_engine::{
    card::card,
    cuda::{
        Gpu, Precision,
        measure::{self, Calls, Decoding, row},
    },
    parallel::Split,
    pipelines::Pipeline,
    place::Place,
    progress::Observer,
    request::{Params, Request, Value},
    residency::Residency,
};

use super::weights;

const TEXT: usize = 128;
const GIB: f64 = (1_u64 << 30) as f64;

/// What the words of a section say.
struct Words(Vec<String>);

impl Words {
    fn of(&self, name: &str) -> Option<&str> {
        let at = self.0.iter().position(|word| word == name)?;
        self.0.get(at + 1).map(String::as_str)
    }

    fn number(&self, name: &str) -> usize {
        let said = self.of(name).unwrap_or_else(|| panic!("say {name}"));
        said.parse().unwrap_or_else(|_| panic!("{name} {said}: no number"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.of(name).unwrap_or_else(|| panic!("say {name}")).into()
    }

    fn size(&self) -> &str {
        self.of("--size").filter(|size| ["2b", "13b"].contains(size)).expect("say --size 2b or 13b")
    }
}

pub(super) fn main() {
    let began = Instant::now();
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let Some(section) = words.first().cloned() else {
        println!("say a section: see deploy/cuda/README.md");
        return;
    };
    let words = Words(words);
    if section == "make-model" {
        return make_model(&words.path("--out"), words.size());
    }
    let gpu = Gpu::open(0, Precision::Bf16).unwrap_or_else(|error| panic!("{error}: {}", error.remedy()));
    let done = match section.as_str() {
        "rates" => rates(&gpu),
        "flash" => flash(&gpu),
        "transformer" => transformer(&gpu, &words),
        "decode" => decode(&gpu),
        "load" => load(gpu, &words.path("--model")),
        "start" => start(gpu, &words.path("--model"), began),
        "memory" => memory(&gpu, &words.path("--model")),
        other => panic!("no section {other}"),
    };
    done.unwrap_or_else(|error| panic!("{section}: {error}: {}", error.remedy()));
}

type Done = Result<(), croft_engine::error::Error>;

fn rates(gpu: &Arc<Gpu>) -> Done {
    row("device", "copy", "", (measure::copy_rate(gpu)? / 1e9, "GB/s"), None);
    let rate = measure::matmul_rate(gpu, 8192)? / 1e12;
    row("device", "matmul", "8192x8192x8192 bf16", (rate, "TFLOP/s"), None);
    row("device", "h2d", "", (measure::upload_rate(gpu)? / 1e9, "GB/s"), None);
    Ok(())
}

fn flash(gpu: &Arc<Gpu>) -> Done {
    for shape in
        [[1, 32, 6144, 128], [2, 32, 6144, 128], [1, 24, 32768, 128], [2, 32, 6144, 64], [1, 24, 32768, 64]]
    {
        let name = shape.map(|n| n.to_string()).join("x");
        row("flash", "flash", &name, (measure::attention_rate(gpu, shape)? / 1e12, "TFLOP/s"), None);
    }
    Ok(())
}

/// A folder in memory that goes with the process.
struct Temporary(PathBuf);

impl Temporary {
    fn new() -> Self {
        let base =
            if Path::new("/dev/shm").is_dir() { PathBuf::from("/dev/shm") } else { std::env::temp_dir() };
        let path = base.join(format!("croft-bench-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("room for a model");
        Self(path)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn model(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

fn transformer_part(out: &Path, size: &str) {
    weights::part(out, "transformer", "diffusion_pytorch_model", &format!("ltx-video-{size}-transformer"), 1);
}

fn transformer(gpu: &Arc<Gpu>, words: &Words) -> Done {
    let [width, height, frames] = ["--width", "--height", "--frames"].map(|name| words.number(name));
    let name = words.size();
    let folder = Temporary::new();
    transformer_part(&folder.0, name);
    let calls = Calls::load(gpu, model(&folder.0))?;
    drop(folder);
    let (took, bytes) = calls.loaded;
    row("speed", "load transformer", &format!("ltx-{name}"), (bytes as f64 / took / 1e9, "GB/s"), None);
    let size = [(frames - 1) / 8 + 1, height / 32, width / 32];
    for branches in [2, 1] {
        let shape = format!("ltx-{name} {width}x{height}x{frames} b{branches}");
        gpu.forget_most();
        let (took, operations) = calls.measure(size, branches, TEXT, 10)?;
        row("speed", "call", &shape, (took * 1e3, "ms"), None);
        row("speed", "rate", &shape, (operations / took / 1e12, "TFLOP/s"), None);
        row("speed", "peak", &shape, (gpu.most_held() as f64 / GIB, "GiB"), None);
    }
    Ok(())
}

fn decode(gpu: &Arc<Gpu>) -> Done {
    let folder = Temporary::new();
    for age in ["0.9.0", "0.9.5"] {
        let out = folder.0.join(age);
        weights::part(&out, "vae", "diffusion_pytorch_model", &format!("ltx-video-vae-{age}"), 2);
        let decoding = Decoding::load(gpu, model(&out))?;
        gpu.forget_most();
        let shape = format!("vae-{age} 768x512x121");
        row("speed", "decode", &shape, (decoding.measure(gpu, [16, 16, 24], 3)? * 1e3, "ms"), None);
        row("speed", "decode peak", &shape, (gpu.most_held() as f64 / GIB, "GiB"), None);
    }
    Ok(())
}

fn make_model(out: &Path, size: &str) {
    weights::beside(out);
    transformer_part(out, size);
    weights::part(out, "vae", "diffusion_pytorch_model", "ltx-video-vae-0.9.5", 2);
    weights::part(out, "text_encoder", "model", "t5-v1_1-xxl-encoder", 3);
}

/// A whole clip in each residency: the most that was held beside what a plan reckons with.
fn memory(gpu: &Arc<Gpu>, folder: &Path) -> Done {
    let name = folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let planned = registry::card(model(folder)).expect("a model that can be planned with");
    let shape = planned.shape.expect("a model of known shape");
    let shot =
        Shot { width: 768, height: 512, frames: 121, is_guided: true, text_tokens: 128, is_tiled: false };
    let card = card(model(folder))?;
    let params = clip(2.0);
    let request = Request::from_params(&card, "a red circle moving right", "", 1, &params)?;
    let place = Place::Cuda(gpu.clone());
    for (residency, plan) in [
        (Residency::Resident, plan::Residency::Resident),
        (Residency::Sequential, plan::Residency::Sequential),
        (Residency::Streamed, plan::Residency::Streamed),
    ] {
        gpu.forget_most();
        let pipeline = Pipeline::load_on(&place, model(folder), card.clone(), &Split::whole(), residency)?;
        let clip = pipeline.render(&request, &mut ())?;
        let need = shape.need(&shot, &plan::Part::WHOLE, plan, plan::Kind::Gpu);
        let (held, planned) = (gpu.most_held() as f64, (need.total() - need.reserve) as f64);
        let what = format!("{name} {} 768x512x121", plan.name());
        row("memory", "peak", &what, (held / GIB, "GiB"), None);
        row("memory", "plan", &what, (planned / GIB, "GiB"), None);
        row("memory", "peak over the plan's", &what, (held / planned, "x"), Some("<= 1"));
        println!("{}; {:?}", need.words(), clip.times);
    }
    Ok(())
}

fn clip(steps: f64) -> Params {
    let numbers =
        [("steps", steps), ("num_frames", 121.0)].map(|(name, n)| (name.to_owned(), Value::Number(n)));
    numbers.into_iter().chain([("size".to_owned(), Value::Text("768x512".to_owned()))]).collect()
}

fn load(gpu: Arc<Gpu>, folder: &Path) -> Done {
    let card = card(model(folder))?;
    let bytes = card.weights_bytes;
    let place = Place::Cuda(gpu);
    // Twice: what the first has read is cached then.
    for time in 0..2 {
        let began = Instant::now();
        let loaded =
            Pipeline::load_on(&place, model(folder), card.clone(), &Split::whole(), Residency::Resident)?;
        let rate = bytes as f64 / began.elapsed().as_secs_f64() / 1e9;
        drop(loaded);
        if time == 1 {
            let name = folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            row("speed", "load", &name, (rate, "GB/s"), None);
        }
    }
    Ok(())
}

/// Ends a render after its first step.
struct First {
    began: Instant,
    took: f64,
}

impl Observer for First {
    fn step(&mut self, _step: u32, _steps: u32) {
        self.took = self.began.elapsed().as_secs_f64();
    }

    fn cancelled(&self) -> bool {
        self.took > 0.0
    }
}

fn start(gpu: Arc<Gpu>, folder: &Path, began: Instant) -> Done {
    let card = card(model(folder))?;
    let checked = began.elapsed().as_secs_f64();
    let request = Request::from_params(&card, "a red circle moving right", "", 1, &clip(40.0))?;
    let pipeline =
        Pipeline::load_on(&Place::Cuda(gpu), model(folder), card, &Split::whole(), Residency::Resident)?;
    let loaded = began.elapsed().as_secs_f64();
    let mut first = First { began, took: 0.0 };
    let _ = pipeline.render(&request, &mut first);
    println!("checked after {checked:.2} s, loaded after {loaded:.2} s");
    let name = folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    row("speed", "first step", &name, (first.took, "s"), None);
    Ok(())
}
