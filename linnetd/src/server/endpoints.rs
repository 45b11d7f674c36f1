//! Service Endpoints: pods on this host.

use std::net::IpAddr;
use std::sync::Arc;

use linnet_api::endpoints_server::Endpoints;
use linnet_api::{
    Endpoint, EndpointAddReply, EndpointAddRequest, EndpointListReply, EndpointListRequest, EndpointRemoveReply,
    EndpointRemoveRequest,
};
use tonic::{Request, Response, Status};

use super::kernel;
use crate::daemon::Daemon;
use crate::endpoints::{EndpointError, EndpointStatus, Record};

pub(super) struct EndpointsService(pub(super) Arc<Daemon>);

#[tonic::async_trait]
impl Endpoints for EndpointsService {
    async fn list(&self, _: Request<EndpointListRequest>) -> Result<Response<EndpointListReply>, Status> {
        let endpoints = match self.0.kernel() {
            Some(kernel) => kernel.endpoints.list().await.into_iter().map(endpoint).collect(),
            None => Vec::new(),
        };
        Ok(Response::new(EndpointListReply { endpoints }))
    }

    async fn add(&self, request: Request<EndpointAddRequest>) -> Result<Response<EndpointAddReply>, Status> {
        let EndpointAddRequest { name, netns, addresses, labels, interface } = request.into_inner();
        let addresses = addresses.iter().map(|text| address(text)).collect::<Result<Vec<_>, _>>()?;
        let record = Record { name, netns: netns.into(), interface, addresses, labels: labels.into_iter().collect() };
        let endpoints = kernel(&self.0)?.endpoints.clone();
        // On a task of its own: a client that goes away must not leave an endpoint half made.
        let added = tokio::spawn(async move { endpoints.add(record).await }).await;
        let status = added.map_err(|error| Status::internal(error.to_string()))?.map_err(refused)?;
        Ok(Response::new(EndpointAddReply { endpoint: Some(endpoint(status)) }))
    }

    async fn remove(&self, request: Request<EndpointRemoveRequest>) -> Result<Response<EndpointRemoveReply>, Status> {
        let name = request.into_inner().name;
        let endpoints = kernel(&self.0)?.endpoints.clone();
        let removed = tokio::spawn(async move { endpoints.remove(&name).await }).await;
        removed.map_err(|error| Status::internal(error.to_string()))?.map_err(refused)?;
        Ok(Response::new(EndpointRemoveReply {}))
    }
}

/// An address; a prefix that holds nothing but one is taken for it.
fn address(text: &str) -> Result<IpAddr, Status> {
    let bare = text.strip_suffix("/32").or_else(|| text.strip_suffix("/128")).unwrap_or(text);
    bare.parse().map_err(|_| {
        Status::invalid_argument(format!("\"{text}\" is not an IP address; nothing was made; write it like 10.244.1.2"))
    })
}

fn refused(error: EndpointError) -> Status {
    let message = error.to_string();
    match error {
        EndpointError::Invalid(_) => Status::invalid_argument(message),
        EndpointError::Exists(_) => Status::already_exists(message),
        EndpointError::Unknown { .. } => Status::not_found(message),
        EndpointError::Failed(_) => Status::failed_precondition(message),
    }
}

fn endpoint(status: EndpointStatus) -> Endpoint {
    Endpoint {
        name: status.record.name,
        netns: status.record.netns.display().to_string(),
        addresses: status.record.addresses.iter().map(ToString::to_string).collect(),
        labels: status.record.labels.into_iter().collect(),
        interface: status.host_interface,
        state: if status.error.is_none() { "ready" } else { "failed" }.into(),
        error: status.error.unwrap_or_default(),
        mtu: status.mtu.unwrap_or_default(),
    }
}
