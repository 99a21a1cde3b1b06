//! The store's name for itself: a random object at its root, by which a worker knows that it sees the same store.

use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutPayload, path::Path};
use uuid::Uuid;

const PLACE: &str = ".croft/store-id";

/// An id is this long at most; anything longer there is not ours.
const BYTES_MAX: u64 = 64;

/// Reads the id, or writes one where there is none. Two coordinators that start at once agree on one.
pub(crate) async fn of(store: &dyn ObjectStore) -> Result<String, object_store::Error> {
    let place = Path::from(PLACE);
    match read(store, &place).await {
        Err(object_store::Error::NotFound { .. }) => {}
        read => return read,
    }
    let id = Uuid::new_v4().to_string();
    match store.put_opts(&place, PutPayload::from(id.clone()), PutMode::Create.into()).await {
        Ok(_) => Ok(id),
        Err(object_store::Error::AlreadyExists { .. }) => read(store, &place).await,
        Err(error) => Err(error),
    }
}

async fn read(store: &dyn ObjectStore, place: &Path) -> Result<String, object_store::Error> {
    let bytes = store.get_range(place, 0..BYTES_MAX).await?;
    Ok(String::from_utf8_lossy(&bytes).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use object_store::memory::InMemory;

    use super::*;

    #[tokio::test]
    async fn a_store_keeps_its_first_id() {
        let store = InMemory::new();
        let first = of(&store).await.unwrap();
        assert_eq!(of(&store).await.unwrap(), first);
        assert_eq!(first.len(), 36);
    }
}
