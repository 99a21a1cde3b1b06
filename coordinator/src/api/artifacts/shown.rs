//! Whose a published file is: what its task's sidecar says, for callers who must not see every show.

use object_store::{Error as StoreError, ObjectStore, path::Path};
use tonic::Status;

use super::{
    super::{auth::Call, status::not_found},
    refusal,
};
use crate::publish::Sidecar;

/// Refuses a file of a show that the caller must not see. A file that no sidecar tells of is nobody's to see.
pub(super) async fn to(call: &Call, store: &dyn ObjectStore, file: &Path) -> Result<(), Status> {
    for sidecar in sidecars(file.as_ref()) {
        let Ok(at) = Path::parse(&sidecar) else { continue };
        match Sidecar::read(store, &at).await {
            Ok(found) if at == *file || found.files.iter().any(|listed| listed.path == file.as_ref()) => {
                return call.may_see(&found.show);
            }
            Ok(_) | Err(StoreError::NotFound { .. } | StoreError::Generic { .. }) => {}
            Err(error) => return Err(refusal(file.as_ref(), error)),
        }
    }
    Err(not_found("artifact", file.as_ref()))
}

/// Where the sidecar of a file may be: beside it, or beside the folder of its frames.
fn sidecars(file: &str) -> Vec<String> {
    let stem = file.rsplit_once('.').filter(|(_, kind)| !kind.contains('/')).map_or(file, |(stem, _)| stem);
    let folder = file.rsplit_once('/').map(|(folder, _)| folder);
    std::iter::once(stem).chain(folder).map(|stem| format!("{stem}.json")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sidecar_is_looked_for_where_publication_puts_it() {
        assert_eq!(sidecars("ad/s1/0001.png"), ["ad/s1/0001.json", "ad/s1.json"]);
        assert_eq!(sidecars("ad/s1.mp4"), ["ad/s1.json", "ad.json"]);
        assert_eq!(sidecars("s1.json"), ["s1.json"]);
        assert_eq!(sidecars("a.b/s1"), ["a.b/s1.json", "a.b.json"]);
    }
}
