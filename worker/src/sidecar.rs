//! The sidecar: everything about one output that its bytes do not say. The fixed part comes from the coordinator, the
//! rest is known here.

use croft_proto::v1::{
    Artifact, Assignment, AttemptTimes, RankResumed, Recipe, Residency, SplitMode, param_value,
};
use serde_json::{Map, Value, json};

/// What the coordinator looks for under an attempt's prefix.
pub(crate) const NAME: &str = "sidecar.json";

/// Where and when an attempt ran.
#[derive(Debug, Clone)]
pub(crate) struct Circumstances<'a> {
    pub(crate) worker: &'a str,
    pub(crate) device: String,
    pub(crate) threads: u32,
    pub(crate) engine_version: &'a str,
    pub(crate) started: &'a str,
    pub(crate) finished: &'a str,
    pub(crate) times: AttemptTimes,
    pub(crate) peak_memory_bytes: u64,
    /// Where it went on, if it did not begin at the beginning.
    pub(crate) resumed: Option<RankResumed>,
}

/// The sidecar of an attempt that made `artifacts`.
///
/// # Errors
/// When the coordinator's part is not a JSON object: a sidecar without it would say less than it must.
pub(crate) fn write(
    assignment: &Assignment,
    at: &Circumstances<'_>,
    artifacts: &[Artifact],
) -> Result<Vec<u8>, serde_json::Error> {
    let fixed: Map<String, Value> = serde_json::from_str(&assignment.sidecar_json)?;
    let mut sidecar = Map::from_iter([("apiVersion".to_owned(), json!("croft.sidecar/v1"))]);
    sidecar.extend(fixed);
    if let Some(recipe) = &assignment.recipe {
        sidecar.extend(resolved(recipe));
    }
    let attempt = assignment.attempt.as_ref();
    let rest = json!({
        "engine_version": at.engine_version,
        "ranks": assignment.ranks.max(1),
        "mode": mode(assignment),
        "residency": residency(assignment),
        "artifacts": artifacts.iter().map(artifact).collect::<Vec<_>>(),
        "attempt": attempt.map_or(0, |attempt| attempt.attempt),
        "worker": at.worker,
        "device": at.device,
        "threads": at.threads,
        "started": at.started,
        "finished": at.finished,
        "times": {
            "load_ms": at.times.load_ms, "encode_ms": at.times.encode_ms, "denoise_ms": at.times.denoise_ms,
            "decode_ms": at.times.decode_ms, "save_ms": at.times.save_ms,
            "peak_memory_bytes": at.peak_memory_bytes,
        },
    });
    if let Value::Object(rest) = rest {
        sidecar.extend(rest);
    }
    if !assignment.shares.is_empty() {
        sidecar.insert("shares".to_owned(), json!(assignment.shares));
    }
    if let Some(RankResumed { attempt, step }) = at.resumed {
        sidecar.insert("resumed_from".to_owned(), json!({ "attempt": attempt, "step": step }));
    }
    let mut bytes = format!("{:#}", Value::Object(sidecar)).into_bytes();
    bytes.push(b'\n');
    Ok(bytes)
}

fn mode(assignment: &Assignment) -> &'static str {
    match assignment.mode() {
        _ if assignment.ranks <= 1 => "solo",
        SplitMode::Tensor | SplitMode::Unspecified => "tensor",
        SplitMode::Layers => "layers",
        SplitMode::Guidance => "guidance",
    }
}

fn residency(assignment: &Assignment) -> &'static str {
    match assignment.residency() {
        Residency::Resident | Residency::Unspecified => "resident",
        Residency::Sequential => "sequential",
        Residency::Streamed => "streamed",
    }
}

fn resolved(recipe: &Recipe) -> Map<String, Value> {
    let params: Map<String, Value> = recipe
        .params
        .iter()
        .filter_map(|(name, value)| {
            let value = match value.kind.as_ref()? {
                param_value::Kind::Number(number) => number_value(*number),
                param_value::Kind::Text(text) => json!(text),
                param_value::Kind::Flag(flag) => json!(flag),
            };
            Some((name.clone(), value))
        })
        .collect();
    let fields = [
        ("model", json!(recipe.model)),
        ("model_digest", json!(recipe.model_digest)),
        ("prompt", json!(recipe.prompt)),
        ("negative_prompt", json!(recipe.negative_prompt)),
        ("seed", json!(recipe.seed)),
        ("dtype", json!(recipe.dtype)),
        ("params", Value::Object(params)),
    ];
    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// Whole numbers are written as people wrote them: 10, not 10.0.
fn number_value(number: f64) -> Value {
    if number.fract() == 0.0 && number.abs() < 9e15 { json!(number as i64) } else { json!(number) }
}

fn artifact(artifact: &Artifact) -> Value {
    json!({
        "path": artifact.path, "size_bytes": artifact.size_bytes, "digest": artifact.digest,
        "media_type": artifact.media_type,
    })
}

#[cfg(test)]
mod tests {
    use croft_proto::v1::{AttemptRef, ParamValue};

    use super::*;

    #[test]
    fn the_fixed_part_the_recipe_and_the_circumstances_are_one_document() {
        let number = |n| ParamValue { kind: Some(param_value::Kind::Number(n)) };
        let assignment = Assignment {
            attempt: Some(AttemptRef { attempt: 2, ..AttemptRef::default() }),
            recipe: Some(Recipe {
                model: "builtin://shapes".to_owned(),
                seed: 7,
                params: [("steps".to_owned(), number(10.0)), ("guidance".to_owned(), number(2.5))].into(),
                ..Recipe::default()
            }),
            sidecar_json: r#"{"job": "autumn", "axes": {"seed": "7"}}"#.to_owned(),
            residency: Residency::Streamed.into(),
            ..Assignment::default()
        };
        let at = Circumstances {
            worker: "ws-1",
            device: "0".to_owned(),
            threads: 2,
            engine_version: "0.1.0",
            started: "a",
            finished: "b",
            times: AttemptTimes::default(),
            peak_memory_bytes: 9,
            resumed: Some(RankResumed { attempt: 1, step: 4 }),
        };
        let file =
            Artifact { path: "clips/7/0001.png".to_owned(), digest: "ab".to_owned(), ..Artifact::default() };
        let sidecar: Value =
            serde_json::from_slice(&write(&assignment, &at, std::slice::from_ref(&file)).expect("an object"))
                .expect("JSON");
        assert_eq!(sidecar["job"], "autumn");
        assert_eq!(sidecar["seed"], 7);
        assert_eq!(sidecar["params"], json!({"steps": 10, "guidance": 2.5}));
        assert_eq!((&sidecar["ranks"], &sidecar["mode"]), (&json!(1), &json!("solo")));
        assert_eq!(sidecar["residency"], "streamed");
        assert_eq!(sidecar["attempt"], 2);
        assert_eq!(sidecar["resumed_from"], json!({"attempt": 1, "step": 4}));
        assert_eq!(sidecar["artifacts"][0]["path"], "clips/7/0001.png");
        let broken = Assignment { sidecar_json: "[]".to_owned(), ..assignment };
        assert!(write(&broken, &at, &[file]).is_err(), "half a sidecar is none");
    }
}
