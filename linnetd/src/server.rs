//! The gRPC API on a Unix socket: one file for each service of `linnet.proto`.

mod bgp;
mod doctor;
mod endpoints;
mod fib;
mod filter;
mod node;
mod notation;
mod policy;
mod restart;
mod watch;

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::stream;
use linnet_api::bgp_server::BgpServer;
use linnet_api::endpoints_server::EndpointsServer;
use linnet_api::fib_server::FibServer;
use linnet_api::node_server::NodeServer;
use linnet_api::policy_server::PolicyServer;
use tokio::net::{UnixListener, UnixStream};
use tonic::Status;
use tonic::transport::Server;
use tracing::warn;

use crate::daemon::{Daemon, Kernel};
pub(crate) use node::components;

/// Why the socket is not to be had.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Another daemon answers there.
    #[error("{}: another linnetd answers on this socket; this one was not started; stop that one, or set api.socket to another path", .0.display())]
    InUse(PathBuf),
    /// The kernel refused.
    #[error("{}: {source}; linnet could not talk to this daemon, so it was not started; make the directory writable, or set api.socket to another path", .path.display())]
    Io {
        /// The socket.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

/// Makes the socket, which its owner and group may use, and its directory. A socket on which nobody answers is replaced.
///
/// # Errors
/// See [`SocketError`].
pub async fn bind(path: &Path) -> Result<UnixListener, SocketError> {
    if UnixStream::connect(path).await.is_ok() {
        return Err(SocketError::InUse(path.to_owned()));
    }
    let make = || -> io::Result<UnixListener> {
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory)?;
        }
        match std::fs::symlink_metadata(path) {
            Ok(metadata) if std::os::unix::fs::FileTypeExt::is_socket(&metadata.file_type()) => {
                std::fs::remove_file(path)?
            }
            Ok(_) => return Err(io::Error::new(io::ErrorKind::AlreadyExists, "a file that is no socket is there")),
            Err(_) => {}
        }
        let listener = UnixListener::bind(path)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))?;
        Ok(listener)
    };
    make().map_err(|source| SocketError::Io { path: path.to_owned(), source })
}

/// Serves until the program ends.
pub async fn serve(listener: UnixListener, daemon: Arc<Daemon>) {
    let connections = stream::unfold(listener, |listener| async {
        let accepted = listener.accept().await.map(|(connection, _)| connection);
        if accepted.is_err() {
            // Out of file descriptors, most likely: asking again at once would only burn the processor.
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        Some((accepted, listener))
    });
    let server = Server::builder()
        .add_service(NodeServer::new(node::NodeService(daemon.clone())))
        .add_service(BgpServer::new(bgp::BgpService(daemon.clone())))
        .add_service(FibServer::new(fib::FibService(daemon.clone())))
        .add_service(EndpointsServer::new(endpoints::EndpointsService(daemon.clone())))
        .add_service(PolicyServer::new(policy::PolicyService(daemon)));
    if let Err(error) = server.serve_with_incoming(connections).await {
        warn!(%error, "the API has ended; linnet cannot reach this daemon any more; restart it");
    }
}

/// The kernel's side, or the answer that this node has none.
fn kernel(daemon: &Daemon) -> Result<&Kernel, Status> {
    daemon.kernel().ok_or_else(|| {
        Status::failed_precondition(
            "fib.install is false on this node: it programs no route, no policy and no pod; set it to true and restart linnetd",
        )
    })
}

fn ending() -> Status {
    Status::unavailable("linnetd is ending; nothing was done; ask again when it is back")
}
