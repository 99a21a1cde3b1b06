//! The table and the protos say the same.

use std::collections::BTreeSet;

use croft_core::access::{Need, Role};
use prost::Message;
use prost_types::FileDescriptorSet;

use super::table::{self, ROWS};

fn methods() -> BTreeSet<String> {
    let all = FileDescriptorSet::decode(croft_proto::DESCRIPTORS).unwrap();
    let of_file = |file: prost_types::FileDescriptorProto| {
        let package = file.package().to_owned();
        file.service.into_iter().flat_map(move |service| {
            let package = package.clone();
            let name = service.name().to_owned();
            service.method.into_iter().map(move |method| format!("{package}.{name}/{}", method.name()))
        })
    };
    all.file.into_iter().flat_map(of_file).collect()
}

#[test]
fn every_method_of_the_protos_has_one_row_and_no_row_is_of_another() {
    let ours: Vec<String> =
        ROWS.iter().map(|row| row.method.to_owned()).filter(|method| method.starts_with("croft.")).collect();
    assert_eq!(ours.iter().cloned().collect::<BTreeSet<_>>(), methods());
    assert_eq!(ours.len(), methods().len(), "no method has two rows");
}

#[test]
fn only_joining_and_health_need_no_certificate() {
    let open: Vec<&str> = ROWS.iter().filter(|row| row.need == Need::Nothing).map(|row| row.method).collect();
    assert_eq!(
        open,
        ["croft.v1.Identity/Join", "grpc.health.v1.Health/Check", "grpc.health.v1.Health/Watch"]
    );
}

#[test]
fn what_changes_the_farm_is_no_viewers() {
    let viewer = Need::Person(Role::Viewer);
    assert!(ROWS.iter().all(|row| !row.changes || row.need != viewer));
}

#[test]
fn what_is_no_method_has_no_row() {
    for path in ["", "/", "/croft.v1.Jobs/", "croft.v1.Jobs/GetJob", "/croft.v1.Jobs/GetJob/x"] {
        assert_eq!(table::row(path), None, "{path}");
    }
    assert!(table::row("/croft.v1.Jobs/GetJob").is_some());
}
