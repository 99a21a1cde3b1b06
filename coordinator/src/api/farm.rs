//! The service of wranglers.

use croft_core::{audit::Filter, ids::WorkerId, show::WEIGHT_MAX, step::Event, worker::LockKind};
use croft_proto::v1;
use tonic::{Request, Response, Status};

use super::{
    auth::Call,
    convert, page,
    status::{invalid, not_found},
    usage,
};
use crate::{handle::Handle, run::Desk};

const REASON_BYTES_MAX: usize = 500;

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
        let reader = Call::of(&request).caller().clone();
        let v1::ListWorkersRequest { page_size, page_token } = request.into_inner();
        let size = page::size(page_size);
        let from =
            page::read::<1>(&page_token)?.map_or(0, |[from]| usize::try_from(from).unwrap_or(usize::MAX));
        let workers = self.handle.ask(move |desk| desk.farm.workers_for(&reader)).await?;
        let more = workers.len() > from.saturating_add(size);
        let next = if more { page::write([(from + size) as u64]) } else { String::new() };
        let workers = workers.into_iter().skip(from).take(size).map(convert::worker).collect();
        Ok(Response::new(v1::ListWorkersResponse { workers, next_page_token: next }))
    }

    async fn get_worker(
        &self,
        request: Request<v1::GetWorkerRequest>,
    ) -> Result<Response<v1::Worker>, Status> {
        let reader = Call::of(&request).caller().clone();
        let name = request.into_inner().name;
        let id = name
            .strip_prefix("workers/")
            .ok_or_else(|| invalid("name", format!("'{name}' is no worker's name: workers/WORKER")))?;
        let id = WorkerId::new(id).map_err(|_| not_found("worker", &name))?;
        let workers = self.handle.ask(move |desk| desk.farm.workers_for(&reader)).await?;
        let worker = workers.into_iter().find(|worker| worker.id == id);
        Ok(Response::new(convert::worker(worker.ok_or_else(|| not_found("worker", &name))?)))
    }

    async fn lock_worker(
        &self,
        request: Request<v1::LockWorkerRequest>,
    ) -> Result<Response<v1::Worker>, Status> {
        let call = Call::of(&request);
        let v1::LockWorkerRequest { name, reason, give_back } = request.into_inner();
        self.set(&call, &name, LockKind::Locked, true, reason, give_back).await
    }

    async fn unlock_worker(
        &self,
        request: Request<v1::UnlockWorkerRequest>,
    ) -> Result<Response<v1::Worker>, Status> {
        let call = Call::of(&request);
        let name = request.into_inner().name;
        self.set(&call, &name, LockKind::Draining, false, String::new(), false).await?;
        self.set(&call, &name, LockKind::Locked, false, String::new(), false).await
    }

    async fn drain_worker(
        &self,
        request: Request<v1::DrainWorkerRequest>,
    ) -> Result<Response<v1::Worker>, Status> {
        let call = Call::of(&request);
        let v1::DrainWorkerRequest { name, reason } = request.into_inner();
        self.set(&call, &name, LockKind::Draining, true, reason, false).await
    }

    async fn list_shows(
        &self,
        _request: Request<v1::ListShowsRequest>,
    ) -> Result<Response<v1::ListShowsResponse>, Status> {
        let shows = self.handle.ask(|desk| desk.farm.shows()).await?;
        Ok(Response::new(v1::ListShowsResponse { shows: shows.into_iter().map(convert::show).collect() }))
    }

    async fn update_show(
        &self,
        request: Request<v1::UpdateShowRequest>,
    ) -> Result<Response<v1::Show>, Status> {
        let call = Call::of(&request);
        let v1::UpdateShowRequest { name, weight, max_devices } = request.into_inner();
        call.about(&name);
        let show = resource("shows", &name)?;
        if let Some(weight) = weight.filter(|weight| !(1..=WEIGHT_MAX).contains(weight)) {
            return Err(invalid("weight", format!("is {weight}, must be 1 to {WEIGHT_MAX}")));
        }
        let (asked, seen) = (show.clone(), show);
        let event = move |farm: &croft_core::farm::Farm| {
            let known = farm.shows().into_iter().find(|show| show.name == asked);
            let mut settings = known.map(|show| show.settings).unwrap_or_default();
            settings.weight = weight.unwrap_or(settings.weight);
            if let Some(max) = max_devices {
                settings.max_devices = (max > 0).then_some(max);
            }
            Some(Event::ShowSet { show: asked, settings })
        };
        let look = move |desk: &mut Desk| desk.farm.shows().into_iter().find(|show| show.name == seen);
        let show = call.act(&self.handle, event, look).await?;
        Ok(Response::new(convert::show(show.ok_or_else(|| Status::internal("the show was not entered"))?)))
    }

    async fn list_limits(
        &self,
        _request: Request<v1::ListLimitsRequest>,
    ) -> Result<Response<v1::ListLimitsResponse>, Status> {
        let limits = self.handle.ask(|desk| desk.farm.limits()).await?;
        Ok(Response::new(v1::ListLimitsResponse { limits: limits.into_iter().map(convert::limit).collect() }))
    }

    async fn set_limit(&self, request: Request<v1::SetLimitRequest>) -> Result<Response<v1::Limit>, Status> {
        let call = Call::of(&request);
        let v1::SetLimitRequest { name, max } = request.into_inner();
        call.about(&name);
        let limit = resource("limits", &name)?;
        let (asked, seen) = (limit.clone(), limit);
        let event = move |_: &_| Some(Event::LimitSet { limit: asked, max: Some(max) });
        let look = move |desk: &mut Desk| desk.farm.limits().into_iter().find(|limit| limit.name == seen);
        let limit = call.act(&self.handle, event, look).await?;
        Ok(Response::new(convert::limit(limit.ok_or_else(|| Status::internal("the limit was not entered"))?)))
    }

    async fn delete_limit(
        &self,
        request: Request<v1::DeleteLimitRequest>,
    ) -> Result<Response<v1::DeleteLimitResponse>, Status> {
        let call = Call::of(&request);
        let name = request.into_inner().name;
        call.about(&name);
        let limit = resource("limits", &name)?;
        let known = move |farm: &croft_core::farm::Farm, limit: &str| {
            farm.limits().into_iter().any(|known| known.name == limit && known.max.is_some())
        };
        let (asked, sought) = (limit.clone(), limit);
        let was_there = self.handle.ask(move |desk| known(&desk.farm, &sought)).await?;
        if !was_there {
            return Err(not_found("limit", &name));
        }
        let event = move |_: &_| Some(Event::LimitSet { limit: asked, max: None });
        call.act(&self.handle, event, |_| ()).await?;
        Ok(Response::new(v1::DeleteLimitResponse {}))
    }

    async fn list_audit_events(
        &self,
        request: Request<v1::ListAuditEventsRequest>,
    ) -> Result<Response<v1::ListAuditEventsResponse>, Status> {
        let v1::ListAuditEventsRequest { page_size, page_token, since, who, method, refused_only } =
            request.into_inner();
        let size = page::size(page_size);
        let before = page::read::<1>(&page_token)?.map(|[before]| before);
        let filter = Filter { since: convert::time(since), who, method, refused_only };
        let (events, more) = self.handle.ask(move |desk| desk.farm.audit(&filter, before, size)).await?;
        let next = events.last().filter(|_| more).map(|last| page::write([last.number]));
        let events = events.into_iter().map(convert::audit_event).collect();
        Ok(Response::new(v1::ListAuditEventsResponse { events, next_page_token: next.unwrap_or_default() }))
    }

    async fn list_usage(
        &self,
        request: Request<v1::ListUsageRequest>,
    ) -> Result<Response<v1::ListUsageResponse>, Status> {
        let call = Call::of(&request);
        Ok(Response::new(usage::list(&self.handle, &call, request.into_inner()).await?))
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

impl Farm {
    /// Locks a worker or takes that lock off, and gives the worker.
    async fn set(
        &self,
        call: &Call,
        name: &str,
        lock: LockKind,
        on: bool,
        reason: String,
        give_back: bool,
    ) -> Result<Response<v1::Worker>, Status> {
        call.about(name);
        let id = resource("workers", name)?;
        let id = WorkerId::new(&id).map_err(|_| not_found("worker", name))?;
        if reason.len() > REASON_BYTES_MAX {
            return Err(invalid("reason", format!("{REASON_BYTES_MAX} bytes at most")));
        }
        let (worker, seen) = (id.clone(), id);
        let event = move |_: &_| Some(Event::WorkerSet { worker, lock, on, reason, give_back });
        let look = move |desk: &mut Desk| desk.farm.workers().into_iter().find(|worker| worker.id == seen);
        let worker = call.act(&self.handle, event, look).await?;
        Ok(Response::new(convert::worker(worker.ok_or_else(|| not_found("worker", name))?)))
    }
}

/// The name behind `{collection}/`.
fn resource(collection: &str, name: &str) -> Result<String, Status> {
    let id = name.strip_prefix(collection).and_then(|rest| rest.strip_prefix('/'));
    let id = id.ok_or_else(|| invalid("name", format!("'{name}' is none of {collection}/NAME")))?;
    // Shows and limits are named as jobs are.
    match croft_core::ids::JobId::new(id) {
        Ok(_) => Ok(id.to_owned()),
        Err(bad) => Err(invalid("name", bad.to_string())),
    }
}
