//! The connection to the daemon.

use std::path::{Path, PathBuf};

use linnet_api::bgp_client::BgpClient;
use linnet_api::endpoints_client::EndpointsClient;
use linnet_api::fib_client::FibClient;
use linnet_api::node_client::NodeClient;
use linnet_api::policy_client::PolicyClient;
use tonic::transport::{Channel, Endpoint};

use crate::error::Error;

pub(crate) struct Client {
    channel: Channel,
    socket: PathBuf,
}

impl Client {
    pub(crate) async fn connect(socket: &Path) -> Result<Self, Error> {
        let no_daemon = |cause: String| Error::NoDaemon { socket: socket.to_owned(), cause };
        // tonic reports a socket that cannot be reached as a bare "transport error"; asking the socket itself says why.
        tokio::net::UnixStream::connect(socket).await.map_err(|error| no_daemon(error.to_string()))?;
        let endpoint = Endpoint::from_shared(format!("unix://{}", socket.display()))
            .map_err(|error| no_daemon(error.to_string()))?;
        let channel = endpoint.connect().await.map_err(|error| no_daemon(error.to_string()))?;
        Ok(Self { channel, socket: socket.to_owned() })
    }

    pub(crate) fn node(&self) -> NodeClient<Channel> {
        NodeClient::new(self.channel.clone())
    }

    pub(crate) fn bgp(&self) -> BgpClient<Channel> {
        BgpClient::new(self.channel.clone())
    }

    pub(crate) fn fib(&self) -> FibClient<Channel> {
        FibClient::new(self.channel.clone())
    }

    pub(crate) fn endpoints(&self) -> EndpointsClient<Channel> {
        EndpointsClient::new(self.channel.clone())
    }

    pub(crate) fn policy(&self) -> PolicyClient<Channel> {
        PolicyClient::new(self.channel.clone())
    }

    /// The error of a call: the daemon's own word, or that it has gone.
    pub(crate) fn refused(&self, status: tonic::Status) -> Error {
        match status.code() {
            tonic::Code::Unavailable => {
                Error::NoDaemon { socket: self.socket.clone(), cause: status.message().to_owned() }
            }
            _ => Error::Refused(status),
        }
    }
}
