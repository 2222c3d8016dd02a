//! The node's HTTP side: probes, metrics and status. Read-only, and there from the first moment,
//! also while the node recovers.
//!
//! | path | 200 when |
//! |---|---|
//! | `/livez` | the process answers, and its log is not stuck in the device |
//! | `/startupz` | recovered, or recovering and the position moved in the last 60 s |
//! | `/readyz` | some partition serves, or there is none yet; of a node of a cluster: it is used there |
//! | `/readyz?master` | the same, and the node is the master aggregator |
//! | `/metrics` | always; Prometheus text |
//! | `/api/status` | always; [`NodeView`] as JSON |

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;
use tokio::net::TcpListener;

use super::metrics;
use super::view::{NodeView, ProgressView, Verdict};

/// Whatever can describe the node.
pub trait Describe: Send + Sync {
    /// The node at this moment. Called for each request: it must not wait.
    fn view(&self) -> NodeView;
}

type Node = Arc<dyn Describe>;

#[derive(Serialize)]
struct Answer {
    #[serde(flatten)]
    verdict: Verdict,
    state: String,
    progress: ProgressView,
}

/// The routes above, over `node`.
pub fn router(node: Node) -> Router {
    Router::new()
        .route("/livez", get(|node| async { probe(node, NodeView::liveness) }))
        .route("/startupz", get(|node| async { probe(node, NodeView::startup) }))
        .route("/readyz", get(ready))
        .route("/metrics", get(expose))
        .route("/api/status", get(|State(node): State<Node>| async move { Json(node.view()) }))
        .with_state(node)
}

/// Opens the port. Bound before recovery begins, so that a taken port is an error at once.
///
/// # Errors
/// The system's answer.
pub async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address).await
}

/// Serves until `stop` is done.
///
/// # Errors
/// If accepting fails for good.
pub async fn serve(
    listener: TcpListener,
    node: Node,
    stop: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    axum::serve(listener, router(node)).with_graceful_shutdown(stop).await
}

async fn ready(node: State<Node>, RawQuery(query): RawQuery) -> Response {
    let of_master = query.as_deref() == Some("master");
    probe(node, if of_master { NodeView::mastership } else { NodeView::readiness })
}

fn probe(State(node): State<Node>, judge: fn(&NodeView) -> Verdict) -> Response {
    let view = node.view();
    let verdict = judge(&view);
    let status = if verdict.ok { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(Answer { verdict, state: view.state, progress: view.progress })).into_response()
}

async fn expose(State(node): State<Node>) -> Response {
    let kind = [(header::CONTENT_TYPE, metrics::CONTENT_TYPE)];
    match metrics::encode(&node.view()) {
        Ok(text) => (kind, text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
