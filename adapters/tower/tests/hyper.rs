//! The layer in a bare hyper server with hyper's own request bodies.

mod support;

use std::{convert::Infallible, net::SocketAddr};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use hyper::{body::Incoming, server::conn::http1};
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use support::*;
use tokio::net::TcpListener;
use tower::{Layer, Service, service_fn};

/// Serves one connection at a time.
async fn serve<S, R>(service: S) -> SocketAddr
where
    S: Service<Request<Incoming>, Response = Response<R>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send,
    R: http_body::Body<Data = Bytes, Error = Infallible> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let service = TowerToHyperService::new(service.clone());
            http1::Builder::new().serve_connection(TokioIo::new(stream), service).await.unwrap();
        }
    });
    address
}

async fn whoami(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let caller = request.extensions().get::<keyward_tower::Caller>().unwrap();
    Ok(Response::new(Full::from(caller.owner_id().to_string())))
}

#[tokio::test]
async fn plain_and_boxed_bodies_work_for_admitted_and_refused_requests() {
    let world = World::new();
    let layer = world.keys().recheck().require(reading(100)).unwrap();
    let plain = serve(layer.layer(service_fn(whoami))).await;
    // A layer cannot construct a boxed body of an unknown type.
    let boxed = service_fn(async |request| {
        let answer = whoami(request).await?;
        Ok(answer.map(|body| UnsyncBoxBody::<Bytes, Infallible>::new(body.boxed_unsync())))
    });
    let boxed = serve(layer.layer(boxed)).await;
    let line = format!("Bearer {}", world.key().token);
    for address in [plain, boxed] {
        let reply = client::send(address, "GET", "/", &[("authorization", &line)]).await;
        assert_eq!((reply.status, reply.text().as_str()), (200, "acme"));
        let reply = client::send(address, "GET", "/", &[]).await;
        let body = r#"{"error":{"code":"UNAUTHORIZED","message":"Missing or invalid API key."}}"#;
        assert_eq!((reply.status, reply.text().as_str()), (401, body));
        assert_eq!(reply.header("content-length"), [body.len().to_string()]);
    }
}
