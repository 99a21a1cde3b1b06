//! The service of wranglers.

use croft_core::ids::WorkerId;
use croft_proto::v1;
use tonic::{Request, Response, Status};

use super::{
    convert, page,
    status::{invalid, not_found},
};
use crate::{handle::Handle, run::Desk};

#[derive(Debug)]
pub(crate) struct Farm {
    pub(crate) handle: Handle,
    /// The store's address, without secrets.
    pub(crate) artifacts: String,
    /// How others reach this coordinator.
    pub(crate) advertise: String,
    pub(crate) state_store: &'static str,
}

#[tonic::async_trait]
impl v1::farm_server::Farm for Farm {
    async fn list_workers(
        &self,
        request: Request<v1::ListWorkersRequest>,
    ) -> Result<Response<v1::ListWorkersResponse>, Status> {
        let v1::ListWorkersRequest { page_size, page_token } = request.into_inner();
        let size = page::size(page_size);
        let from =
            page::read::<1>(&page_token)?.map_or(0, |[from]| usize::try_from(from).unwrap_or(usize::MAX));
        let workers = self.handle.ask(|desk| desk.farm.workers()).await?;
        let more = workers.len() > from.saturating_add(size);
        let next = if more { page::write([(from + size) as u64]) } else { String::new() };
        let workers = workers.into_iter().skip(from).take(size).map(convert::worker).collect();
        Ok(Response::new(v1::ListWorkersResponse { workers, next_page_token: next }))
    }

    async fn get_worker(
        &self,
        request: Request<v1::GetWorkerRequest>,
    ) -> Result<Response<v1::Worker>, Status> {
        let name = request.into_inner().name;
        let id = name
            .strip_prefix("workers/")
            .ok_or_else(|| invalid("name", format!("'{name}' is no worker's name: workers/WORKER")))?;
        let id = WorkerId::new(id).map_err(|_| not_found("worker", &name))?;
        let workers = self.handle.ask(|desk| desk.farm.workers()).await?;
        let worker = workers.into_iter().find(|worker| worker.id == id);
        Ok(Response::new(convert::worker(worker.ok_or_else(|| not_found("worker", &name))?)))
    }

    async fn get_farm_status(
        &self,
        _request: Request<v1::GetFarmStatusRequest>,
    ) -> Result<Response<v1::FarmStatus>, Status> {
        let look = |desk: &mut Desk| (desk.farm.status(), desk.standing.clone(), desk.trouble.clone());
        let (status, standing, trouble) = self.handle.ask(look).await?;
        Ok(Response::new(convert::status(
            status,
            self.artifacts.clone(),
            &standing,
            &self.advertise,
            trouble,
            self.state_store,
        )))
    }
}
