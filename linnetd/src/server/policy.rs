//! Service Policy: what is in force, and what documents would mean.

use std::sync::Arc;

use linnet_api::policy_server::Policy;
use linnet_api::{
    PolicyCheckReply, PolicyCheckRequest, PolicyDocument, PolicyError, PolicyListReply, PolicyListRequest,
};
use policy::{Direction, Document, DocumentError, DocumentStatus, State};
use tonic::{Request, Response, Status};

use crate::daemon::Daemon;

pub(super) struct PolicyService(pub(super) Arc<Daemon>);

#[tonic::async_trait]
impl Policy for PolicyService {
    async fn list(&self, _: Request<PolicyListRequest>) -> Result<Response<PolicyListReply>, Status> {
        let status = super::kernel(&self.0)?.policy.status().await;
        let (state, error) = match status.state {
            State::InForce => ("in-force", String::new()),
            State::Degraded { error } => ("degraded", error),
        };
        Ok(Response::new(PolicyListReply {
            default: match status.default {
                policy::Default::Allow => "allow".into(),
                policy::Default::Deny => "deny".into(),
            },
            state: state.into(),
            error,
            policies: status.documents.into_iter().map(in_force).collect(),
            errors: status.errors.into_iter().map(error_reply).collect(),
        }))
    }

    async fn check(&self, request: Request<PolicyCheckRequest>) -> Result<Response<PolicyCheckReply>, Status> {
        let mut reply = PolicyCheckReply::default();
        for file in request.into_inner().files {
            match policy::parse(&file.name, &file.content) {
                Ok(documents) => reply.policies.extend(documents.iter().map(parsed)),
                Err(errors) => reply.errors.extend(errors.into_iter().map(error_reply)),
            }
        }
        Ok(Response::new(reply))
    }
}

fn direction(direction: &Direction) -> String {
    match direction {
        Direction::Ingress => "Ingress".into(),
        Direction::Egress => "Egress".into(),
    }
}

fn in_force(status: DocumentStatus) -> PolicyDocument {
    PolicyDocument {
        namespace: status.namespace,
        name: status.name,
        kind: status.kind.into(),
        file: status.file,
        line: status.line,
        directions: status.directions.iter().map(direction).collect(),
        endpoints: status.endpoints,
    }
}

fn error_reply(error: DocumentError) -> PolicyError {
    PolicyError { file: error.file, line: error.line, column: error.column, message: error.message }
}

fn parsed(document: &Document) -> PolicyDocument {
    let origin = document.origin();
    PolicyDocument {
        namespace: document.namespace().unwrap_or_default().to_owned(),
        name: document.name().to_owned(),
        kind: document.kind().to_owned(),
        file: origin.file.to_string(),
        line: origin.line,
        directions: document.directions().iter().map(direction).collect(),
        endpoints: Vec::new(),
    }
}
