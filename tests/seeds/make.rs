//! Writes the seeds that are made of bytes; those of `spec` and `template` are written by hand.

use std::{collections::BTreeMap, fs, path::Path};

use croft_coordinator::edge;
use croft_core::{
    farm::{Config, Farm},
    ids::SessionId,
    plan::Plan,
    spec::{self, Source},
    step::Event,
    time::Time,
};
use croft_engine::{checkpoint::Checkpoint, pipelines::Halfway};
use croft_proto::{
    frame,
    identity::{Authority, Request, Token, request::public_key},
    v1::{self, AttemptRef, WorkerMessage, from_rank, to_rank, worker_message::What},
};
use prost::Message;

use super::fuzz::messages::NAMES;

/// `cargo test --test seeds -- --ignored` after a change of a format; then look at what changed.
#[test]
#[ignore = "it writes into the repository"]
fn write_seeds() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let write = |target: &str, name: &str, bytes: &[u8]| {
        let folder = root.join("tests/fuzz/seeds").join(target);
        fs::create_dir_all(&folder).expect("a folder");
        fs::write(folder.join(name), bytes).expect("a seed");
    };
    let led = |kind: u8, bytes: &[u8]| [&[kind], bytes].concat();

    // safetensors
    let file =
        |header: &str, data: &[u8]| [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat();
    let two = r#"{"__metadata__":{"format":"pt"},"a.weight":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]},"b":{"dtype":"BF16","shape":[],"data_offsets":[8,10]}}"#;
    write("safetensors", "two", &led(0, &file(two, &[1; 10])));
    let odd = r#"{"x":{"dtype":"I64","shape":[1],"data_offsets":[0,8]},"y":{"dtype":"F16","shape":[0,3],"data_offsets":[8,8]}}"#;
    write("safetensors", "odd", &led(1, &file(odd, &[0; 8])));
    let index = r#"{"metadata":{"total_size":8},"weight_map":{"a":"a.safetensors","b":"b.safetensors"}}"#;
    write("safetensors", "index", &led(2, index.as_bytes()));
    let halfway = Halfway { step: 12, latents: vec![0.5, -1.25] };
    let checkpoint = Checkpoint { identity: "ab".to_owned(), attempt: 2, halfway };
    write("safetensors", "checkpoint", &led(3, &checkpoint.to_bytes()));

    // tokenizer
    let builtin =
        fs::read(root.join("engine/assets/shapes/tokenizer/tokenizer.json")).expect("the built-in one");
    let builtin: serde_json::Value = serde_json::from_slice(&builtin).expect("JSON");
    write("tokenizer", "builtin", &led(1, builtin.to_string().as_bytes()));
    let unigram = serde_json::json!({
        "added_tokens": [{"id": 0, "content": "<pad>", "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true}],
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": "\u{2581}"},
            {"type": "Strip", "strip_left": false, "strip_right": true}, {"type": "NFKC"}]},
        "pre_tokenizer": {"type": "Metaspace", "replacement": "\u{2581}", "prepend_scheme": "always", "split": true},
        "post_processor": {"type": "TemplateProcessing",
            "single": [{"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "</s>", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"</s>": {"id": "</s>", "ids": [1], "tokens": ["</s>"]}}},
        "decoder": {"type": "Metaspace", "replacement": "\u{2581}", "prepend_scheme": "always", "split": true},
        "model": {"type": "Unigram", "unk_id": 2, "byte_fallback": false, "vocab":
            [["<pad>", 0.0], ["</s>", 0.0], ["<unk>", 0.0], ["\u{2581}", -2.0], ["a", -3.0], ["red", -4.0]]},
    });
    write("tokenizer", "unigram", &led(1, unigram.to_string().as_bytes()));
    let piece = |text: &str, score: f32| {
        let field = [&[10, text.len() as u8], text.as_bytes(), &[21], &score.to_le_bytes()].concat();
        [&[10, field.len() as u8], &field[..]].concat()
    };
    let pieces =
        [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("\u{2581}", -2.0), ("a", -3.0), ("red", -4.0)];
    let mut model: Vec<u8> = pieces.iter().flat_map(|(text, score)| piece(text, *score)).collect();
    // trainer_spec: model_type 1 (unigram), unk_id 2.
    model.extend([18, 5, 24, 1, 0xc0, 2, 2]);
    write("tokenizer", "pieces", &led(0, &model));

    // config
    let golden = root.join("tests/numerics/golden/ltx/pipe");
    for (kind, name) in [
        "model_index.json",
        "scheduler/scheduler_config.json",
        "text_encoder/config.json",
        "transformer/config.json",
        "vae/config.json",
    ]
    .iter()
    .enumerate()
    {
        let json: serde_json::Value =
            serde_json::from_slice(&fs::read(golden.join(name)).expect("a golden file")).expect("JSON");
        write("config", &name.replace('/', "_"), &led(kind as u8, json.to_string().as_bytes()));
    }
    let own = r#"{"defaults":{"size":"96x64","num_frames":17,"steps":4,"guidance":2.0}}"#;
    write("config", "croft.json", &led(5, own.as_bytes()));

    // grpc and records
    let attempt = |task: &str, fence| {
        Some(AttemptRef {
            job: "j".to_owned(),
            layer: "a".to_owned(),
            task: task.to_owned(),
            attempt: 1,
            fence,
            rank: 0,
        })
    };
    let device = |index| v1::DeviceInfo {
        index,
        kind: "cpu".to_owned(),
        model: "core".to_owned(),
        memory_bytes: 96 << 30,
        threads: 8,
        resident_models: vec!["m".to_owned()],
        gflops: 500,
    };
    let hello = |worker: &str| {
        What::Hello(v1::Hello {
            protocol_min: 1,
            protocol_max: 1,
            worker: worker.to_owned(),
            incarnation: "i".to_owned(),
            host: "h".to_owned(),
            version: "0.1.0".to_owned(),
            devices: vec![device(0), device(1)],
            tags: vec!["fast".to_owned()],
            link: Some(v1::Link { name: "pcie".to_owned(), bytes_per_s: 20_000_000_000, latency_ns: 5_000 }),
            ..v1::Hello::default()
        })
    };
    let artifact = v1::Artifact {
        path: "sidecar.json".to_owned(),
        size_bytes: 9,
        digest: "ab".repeat(32),
        media_type: "application/json".to_owned(),
    };
    let progress = |task: &str, fence| {
        What::Progress(v1::AttemptProgress {
            attempt: attempt(task, fence),
            stage: v1::Stage::Denoise.into(),
            step: 1,
            steps: 50,
            step_us: 10,
        })
    };
    let done = |task: &str, fence| {
        What::Done(v1::AttemptDone {
            attempt: attempt(task, fence),
            artifacts: vec![artifact.clone()],
            times: Some(v1::AttemptTimes { load_ms: 1, ..v1::AttemptTimes::default() }),
            peak_memory_bytes: 1 << 30,
        })
    };
    let failed = |task: &str, fence| {
        What::Failed(v1::AttemptFailed {
            attempt: attempt(task, fence),
            failure: Some(v1::Failure {
                cause: v1::ExitCause::OomDevice.into(),
                message: "no room".to_owned(),
                ..v1::Failure::default()
            }),
            log: bytes(b"last words"),
        })
    };
    let streams = [
        (
            "works",
            vec![
                hello("w"),
                hello("v"),
                progress("0001", 1),
                done("0001", 1),
                done("0002", 2),
                What::Goodbye(v1::Goodbye {}),
            ],
        ),
        (
            "fails",
            vec![hello("w"), What::Heartbeat(v1::Heartbeat::default()), failed("0001", 1), failed("0002", 2)],
        ),
        (
            "yields",
            vec![
                hello("w"),
                hello("w"),
                What::Nimby(v1::NimbyLock { on: true, reason: "home".to_owned(), give_back: true }),
                What::Device(v1::DeviceReport { index: 1, resident_models: vec!["m".to_owned()] }),
                What::Address(v1::RankAddress {
                    attempt: attempt("0001", 1),
                    address: "10.0.0.1:1".to_owned(),
                }),
            ],
        ),
    ];
    for (name, said) in streams {
        let stream: Vec<u8> = said
            .iter()
            .flat_map(|what| WorkerMessage { what: Some(what.clone()) }.encode_length_delimited_to_vec())
            .collect();
        write("grpc", &format!("stream-{name}"), &led(0, &stream));
        write("records", name, &records(&said));
    }
    let message = |name: &str, message: &dyn Fn() -> Vec<u8>| {
        let number = NAMES.iter().position(|known| *known == name).expect("a message") as u8;
        write("grpc", name, &led(number + 1, &message()));
    };
    let number = v1::ParamValue { kind: Some(v1::param_value::Kind::Number(2.5)) };
    let recipe = v1::Recipe {
        model: "builtin://shapes".to_owned(),
        model_digest: "cd".repeat(32),
        prompt: "a red circle".to_owned(),
        seed: 7,
        params: [("guidance".to_owned(), number)].into(),
        output: Some(v1::OutputPlan {
            frames_dir: "clips/7".to_owned(),
            png_bits: 8,
            ..v1::OutputPlan::default()
        }),
        ..v1::Recipe::default()
    };
    message("CreateJobRequest", &|| {
        v1::CreateJobRequest {
            spec: "apiVersion: croft/v1".to_owned(),
            files: [("a.csv".to_owned(), b"id\n1\n".to_vec())].into(),
            set: vec!["name=x".to_owned()],
            ..v1::CreateJobRequest::default()
        }
        .encode_to_vec()
    });
    message("TaskSelector", &|| {
        v1::TaskSelector {
            states: vec![1, 4],
            layer: "a".to_owned(),
            tasks: vec!["0001".to_owned()],
            r#where: [("seed".to_owned(), "7".to_owned())].into(),
        }
        .encode_to_vec()
    });
    message("Recipe", &|| recipe.encode_to_vec());
    message("GetTaskRequest", &|| b"jobs/j/layers/a/tasks/0001".to_vec());

    // rank
    let render = v1::RankRender {
        id: 1,
        recipe: Some(recipe.clone()),
        gang: Some(v1::RankGang {
            rank: 0,
            ranks: 2,
            shares: vec![1, 2],
            host: "127.0.0.1".to_owned(),
            token: bytes(&[7; 32]),
            ..v1::RankGang::default()
        }),
        job: "j".to_owned(),
        ..v1::RankRender::default()
    };
    let to = [
        to_rank::What::Render(render),
        to_rank::What::Join(v1::RankJoin { id: 1, addresses: vec!["127.0.0.1:9".to_owned()] }),
        to_rank::What::Cancel(v1::RankCancel { id: 1 }),
        to_rank::What::Shutdown(v1::RankShutdown {}),
    ];
    let mut stream = Vec::new();
    for what in to {
        frame::write(&mut stream, &v1::ToRank { what: Some(what) }).expect("small");
    }
    write("rank", "to", &led(1, &stream));
    let from = [
        from_rank::What::Ready(v1::RankReady { protocol: 1, engine_version: "0.1.0".to_owned() }),
        from_rank::What::Progress(v1::RankProgress { id: 1, stage: 3, step: 1, steps: 2 }),
        from_rank::What::Checkpoint(v1::RankCheckpoint {
            id: 1,
            step: 1,
            file: "checkpoint-00001".to_owned(),
        }),
        from_rank::What::Done(v1::RankDone {
            id: 1,
            files: vec!["a.png".to_owned()],
            ..v1::RankDone::default()
        }),
        from_rank::What::Failed(v1::RankFailed { id: 2, cause: 1, ..v1::RankFailed::default() }),
    ];
    let mut stream = Vec::new();
    for what in from {
        frame::write(&mut stream, &v1::FromRank { what: Some(what) }).expect("small");
    }
    write("rank", "from", &led(0, &stream));

    // identity
    let folder = tempfile::tempdir().expect("a folder");
    let authority = Authority::init(&folder.path().join("ca"), "acme").expect("an authority");
    let request = Request::make().expect("a request");
    write("identity", "request", &led(0, &request.der));
    let key = public_key(&request.der).expect("its key");
    let hosts = ["farm.studio".to_owned(), "10.0.0.5".to_owned(), "::1".to_owned()];
    let name = "spiffe://acme/coordinator/lead".parse().expect("a name");
    let pem =
        authority.issue(&name, &hosts, std::time::Duration::from_secs(86_400), &key).expect("a certificate");
    write("identity", "certificate.pem", &led(2, pem.as_bytes()));
    write("identity", "certificate.der", &led(1, &unpem(&pem)));
    write("identity", "token", &led(3, Token::mint("ab".repeat(32)).to_string().as_bytes()));
    write("identity", "name", &led(3, b"spiffe://acme/user/kim/artist/spring/autumn"));
    write("identity", "worker", &led(3, b"spiffe://acme/worker/ws-1"));
}

fn bytes(of: &[u8]) -> bytes::Bytes {
    bytes::Bytes::copy_from_slice(of)
}

fn unpem(pem: &str) -> Vec<u8> {
    use rustls::pki_types::{CertificateDer, pem::PemObject};
    CertificateDer::from_pem_slice(pem.as_bytes()).expect("a certificate").to_vec()
}

/// What a farm stores that hears all this, of a job of three tasks.
fn records(said: &[What]) -> Vec<u8> {
    let text = "apiVersion: croft/v1\nkind: Job\nname: j\naxes: {seed: 1-3}\nlayers: [{name: a, model: m, prompt: x}]";
    let mut card = serde_json::json!({
        "name": "m", "family": "ltx-video", "digest": "0", "parameters": 1, "weights_bytes": 1, "makes": "clip",
        "params": {"steps": {"kind": {"type": "whole", "min": 1, "max": 500, "multiple": 1, "remainder": 0}, "default": 50.0}},
        "prompt_bytes_max": 4096, "ranks_max": 2,
    });
    card["shape"] = serde_json::json!({"text": 9, "blocks": 9, "rest": 9, "decoder": 9, "layers": 2, "heads": 2,
        "text_heads": 2, "text_layers": 1, "width": 64, "channels": 8, "frames_per_latent": 8,
        "pixels_per_latent": 32, "decoded_per_pixel": 8});
    let cards = [("m".to_owned(), serde_json::from_value(card).expect("a card"))].into();
    let source = Source { name: "s", text, files: &BTreeMap::new(), set: &[] };
    let plan = Plan::new(spec::parse(&source).expect("good"), &cards).expect("good");
    let mut farm = Farm::new(Config::default(), 1);
    let mut store = BTreeMap::new();
    let mut now = Time(1_795_651_200_000);
    let mut happens = |farm: &mut Farm, event| {
        now = now.plus_ms(500);
        for write in farm.apply(now, event).writes {
            match write.value {
                Some(value) => drop(store.insert(write.key, value)),
                None => drop(store.remove(&write.key)),
            }
        }
    };
    let submitted =
        Event::JobSubmitted { request_id: "r".to_owned(), plan: Box::new(plan), trace: String::new() };
    happens(&mut farm, submitted);
    happens(&mut farm, Event::LimitSet { limit: "licence".to_owned(), max: Some(4) });
    happens(
        &mut farm,
        Event::Invited {
            hash: "ab".to_owned(),
            name: "spiffe://f/worker/w".to_owned(),
            expires: Time(2_000_000_000_000),
        },
    );
    for (at, what) in (0..).zip(said) {
        if let Some(event) = edge::heard(&farm, SessionId(1 + at % 2), what.clone()) {
            happens(&mut farm, event);
        }
        happens(&mut farm, Event::Tick);
    }
    let line = |(key, value): (&String, &Vec<u8>)| [key.as_bytes(), b"\t", value, b"\n"].concat();
    store.iter().flat_map(line).collect()
}
