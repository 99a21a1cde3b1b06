//! Where and when a clip is rendered leaves no trace in it.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::house::{croft, ends, files, shapes};

#[test]
fn one_worker_and_three_make_the_same_bytes() {
    let root = tempfile::tempdir().expect("scratch");
    let spec = shapes(root.path(), "shapes", 4, 4);
    let rendered: Vec<BTreeMap<String, Vec<u8>>> = ["1", "3"]
        .into_iter()
        .map(|workers| {
            let out = root.path().join(format!("out-{workers}"));
            ends(croft(&["render", "--workers", workers]).arg(&spec).arg("-o").arg(&out), 0);
            files(&out)
        })
        .collect();
    let (one, three) = (&rendered[0], &rendered[1]);
    assert_eq!(one.keys().collect::<Vec<_>>(), three.keys().collect::<Vec<_>>());
    assert!(one.keys().filter(|name| name.ends_with(".mp4")).count() == 4, "{:?}", one.keys());
    for (name, bytes) in one {
        if name.ends_with(".json") {
            let (a, b) = (sidecar(bytes), sidecar(&three[name]));
            assert_eq!(a, b, "{name}: differs in more than where and when");
        } else {
            assert!(bytes == &three[name], "{name} differs");
        }
    }
}

/// A sidecar without where and when.
fn sidecar(bytes: &[u8]) -> Value {
    let mut value: Value = serde_json::from_slice(bytes).expect("JSON");
    let fields = value.as_object_mut().expect("an object");
    for where_and_when in ["worker", "device", "times", "started", "finished", "attempt", "threads", "host"] {
        fields.remove(where_and_when);
    }
    value
}
