//! The layer in a tonic server, called by a tonic client over a real socket.

mod support;
#[path = "support/text_rpc.rs"]
mod text_rpc;

use std::{future::ready, net::SocketAddr, time::Duration};

use bytes::Bytes;
use http::uri::PathAndQuery;
use http_body::Body;
use http_body_util::Full;
use keyward::{
    Access, ErrorBodies, KeyStore,
    request::{ErrorText, PublicReason},
};
use keyward_tower::ApiKeyLayer;
use support::*;
use text_rpc::{TextService, call};
use tokio::net::TcpListener;
use tonic::{
    Code, Request, Response, Status,
    service::LayerExt,
    transport::{Channel, Endpoint, Server, server::TcpIncoming},
};
use tonic_types::StatusExt;
use tower::{Service, ServiceExt};

async fn whoami(request: Request<String>) -> Result<Response<String>, Status> {
    let caller = request.extensions().get::<keyward_tower::Caller>();
    let owner = caller.map_or("nobody", |caller| caller.owner_id().as_str());
    Ok(Response::new(format!("{} to {owner}", request.get_ref())))
}

/// A server with the layer around all services.
async fn serve<K>(layer: ApiKeyLayer<K>) -> (SocketAddr, Channel)
where
    K: KeyStore + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Server::builder().accept_http1(true).layer(layer).add_service(TextService(whoami));
    tokio::spawn(router.serve_with_incoming(TcpIncoming::from(listener)));
    (address, connect(address).await)
}

async fn connect(address: SocketAddr) -> Channel {
    Endpoint::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap()
}

fn metadata<'s>(status: &'s Status, name: &str) -> Option<&'s str> {
    status.metadata().get(name).map(|value| value.to_str().unwrap())
}

#[tokio::test]
async fn every_refusal_has_a_grpc_status() {
    let world = World::new();
    let (reader, writer, revoked, stranger) =
        (world.key(), world.writing_key(), world.key(), World::new().key());
    world.revoke(&revoked);
    let keys = world.keys().serve_grpc();
    let reading = keys.route(reading(3)).unwrap();
    let writing = keys.route(limited(Access::scope(WRITE), 3)).unwrap();
    let layer = keys
        .require_by(move |parts| match parts.uri.path() {
            "/test.Text/Call" => reading.clone(),
            _ => writing.clone(),
        })
        .unwrap();
    let (_, channel) = serve(layer).await;

    let answer = call(&channel, "Call", Some(&reader.token)).await.unwrap();
    assert_eq!(answer.get_ref(), "hello to acme");
    assert_eq!(answer.metadata().get("x-ratelimit-remaining").unwrap(), "2");

    let invalid = "Missing or invalid API key.";
    for (case, method, token, code, message, challenge) in [
        ("no key", "Call", None, Code::Unauthenticated, invalid, true),
        ("malformed", "Call", Some("luci_1"), Code::Unauthenticated, invalid, true),
        ("unknown", "Call", Some(&*stranger.token), Code::Unauthenticated, invalid, true),
        ("revoked", "Call", Some(&*revoked.token), Code::Unauthenticated, invalid, true),
        (
            "scope",
            "Change",
            Some(&*reader.token),
            Code::PermissionDenied,
            "Missing required scope: write:data",
            false,
        ),
    ] {
        let status = call(&channel, method, token).await.unwrap_err();
        assert_eq!((status.code(), status.message()), (code, message), "{case}");
        assert_eq!(metadata(&status, "www-authenticate").is_some(), challenge, "{case}");
        // tonic replaces the message of any other status, so this one arrived as `grpc-message`.
        assert_eq!(metadata(&status, "x-ratelimit-limit").is_some(), case == "scope", "{case}");
    }
    let forbidden = call(&channel, "Change", Some(&writer.token)).await.unwrap();
    assert_eq!(forbidden.get_ref(), "hello to acme");

    // The refusal for the missing scope was charged to the reader, so one request is left.
    assert!(call(&channel, "Call", Some(&reader.token)).await.is_ok());
    let status = call(&channel, "Call", Some(&reader.token)).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert_eq!(status.message(), "Retry after 60 seconds.");
    assert_eq!(metadata(&status, "retry-after"), Some("60"));
    assert_eq!(metadata(&status, "x-ratelimit-remaining"), Some("0"));
}

#[tokio::test]
async fn a_failing_or_hung_store_returns_unavailable() {
    let world = World::new();
    let key = world.key();
    for broken in [Broken::Fails, Broken::Hangs] {
        let keys = world
            .keys_over(broken)
            .with_deadline(Duration::from_secs(1), |_| ready(()))
            .serve_grpc();
        let (_, channel) = serve(keys.require(reading(100)).unwrap()).await;
        let status = call(&channel, "Call", Some(&key.token)).await.unwrap_err();
        assert_eq!(status.code(), Code::Unavailable, "{broken:?}");
        assert_eq!(status.message(), "Service unavailable", "{broken:?}");
    }
}

#[tokio::test]
async fn several_different_keys_return_invalid_argument() {
    let world = World::new();
    let (_, channel) = serve(world.keys().serve_grpc().require(reading(100)).unwrap()).await;
    let mut client = tonic::client::Grpc::new(channel);
    client.ready().await.unwrap();
    let mut request = Request::new("hello".to_owned());
    for key in [world.key(), world.key()] {
        request.metadata_mut().append("x-api-key", key.token.parse().unwrap());
    }
    let path = PathAndQuery::from_static("/test.Text/Call");
    let status = client.unary(request, path, text_rpc::Text).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert_eq!(status.message(), "Several different API keys were sent");
}

#[tokio::test]
async fn grpc_messages_may_contain_any_character() {
    let message = "Schlüssel fehlt: 100 % nötig\n";
    let world = World::with_gate(|gate| {
        gate.with_errors(ErrorBodies::flat().with_text(PublicReason::MissingKey, message))
    });
    let (_, channel) = serve(world.keys().serve_grpc().require(Access::any_key()).unwrap()).await;
    let status = call(&channel, "Call", None).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::Unauthenticated, message));
}

#[tokio::test]
async fn a_grpc_refusal_is_a_single_headers_frame() {
    let world = World::new();
    let (_, mut channel) = serve(world.keys().serve_grpc().require(reading(100)).unwrap()).await;
    for (token, at_its_end) in
        [(String::new(), true), (format!("Bearer {}", world.key().token), false)]
    {
        let request = http::Request::post("/test.Text/Call")
            .header("content-type", "application/grpc")
            .header("authorization", token)
            .body(tonic::body::Body::new(Full::<Bytes>::from(&b"\0\0\0\0\x05hello"[..])))
            .unwrap();
        let answer = channel.ready().await.unwrap().call(request).await.unwrap();
        // A served response has its status in trailers, after its body.
        assert_eq!(answer.headers().contains_key("grpc-status"), at_its_end);
        assert_eq!(answer.body().is_end_stream(), at_its_end);
    }
}

#[tokio::test]
async fn only_grpc_requests_get_grpc_responses() {
    let world = World::new();
    let (address, _) = serve(world.keys().serve_grpc().require(reading(100)).unwrap()).await;
    let bytes = [("content-type", "application/grpc")];
    let reply = support::client::send(address, "POST", "/test.Text/Call", &bytes).await;
    assert_eq!((reply.status, reply.text().as_str()), (200, ""));
    assert_eq!(reply.header("content-type"), ["application/grpc"]);
    assert_eq!(reply.header("grpc-status"), ["16"]);
    assert_eq!(reply.header("grpc-message"), ["Missing or invalid API key."]);

    assert_eq!(reply.header("cache-control"), ["no-store"]);

    // Only POST is gRPC. A cache would store the 200 to a GET.
    for method in ["GET", "HEAD", "PUT", "OPTIONS"] {
        let reply = support::client::send(address, method, "/test.Text/Call", &bytes).await;
        assert_eq!(reply.status, 401, "{method}");
        assert!(reply.header("grpc-status").is_empty(), "{method}");
        assert_eq!(reply.header("content-type"), ["application/json"], "{method}");
    }

    // A request that is not gRPC must not get a 200.
    for content_type in ["application/json", "application/grpc-web"] {
        let other = [("content-type", content_type)];
        let reply = support::client::send(address, "POST", "/test.Text/Call", &other).await;
        assert_eq!(reply.status, 401, "{content_type}");
        assert_eq!(reply.header("content-type"), ["application/json"]);
        assert!(reply.header("grpc-status").is_empty());
    }
}

#[tokio::test]
async fn refusals_have_the_details_of_google_rpc() {
    let world = World::with_gate(|gate| {
        let text = ErrorText::new("No.").with_code("KEY_UNKNOWN");
        gate.with_limiter(limiter())
            .with_errors(ErrorBodies::nested().with_text(PublicReason::InvalidKey, text))
    });
    let keys = world.keys().serve_grpc();
    let (_, channel) = serve(keys.require(reading(1)).unwrap()).await;
    let (key, stranger) = (world.key(), World::new().key());
    assert!(call(&channel, "Call", Some(&key.token)).await.is_ok());
    for (token, reason, limit, retry_after) in [
        (Some(&stranger.token), "KEY_UNKNOWN", None, None),
        (None, "UNAUTHORIZED", None, None),
        (Some(&key.token), "RATE_LIMITED", Some("1-a-minute"), Some(60)),
    ] {
        let status = call(&channel, "Call", token.map(String::as_str)).await.unwrap_err();
        let details = status.get_error_details();
        let info = details.error_info().unwrap();
        assert_eq!((&*info.reason, &*info.domain), (reason, "keyward"));
        assert_eq!(info.metadata.get("limit").map(String::as_str), limit);
        let delay = details.retry_info().map(|retry| retry.retry_delay.unwrap().as_secs());
        assert_eq!(delay, retry_after, "{reason}");
    }
}

#[tokio::test]
async fn a_layer_can_wrap_a_single_grpc_service() {
    let world = World::new();
    let layer = world.keys().serve_grpc().require(Access::scope(READ)).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = layer.named_layer(TextService(whoami));
    let router = Server::builder().add_service(service);
    tokio::spawn(router.serve_with_incoming(TcpIncoming::from(listener)));
    let channel = connect(address).await;
    let answer = call(&channel, "Call", Some(&world.key().token)).await.unwrap();
    assert_eq!(answer.get_ref(), "hello to acme");
    assert_eq!(call(&channel, "Call", None).await.unwrap_err().code(), Code::Unauthenticated);
}

#[tokio::test]
async fn a_key_revoked_in_flight_returns_unauthenticated() {
    let world = std::sync::Arc::new(World::new());
    let key = world.key();
    let (revoking, id) = (std::sync::Arc::clone(&world), key.id);
    let handler = move |request: Request<String>| {
        let world = std::sync::Arc::clone(&revoking);
        async move {
            world.issuer.revoke(id, NOON).await.unwrap();
            Ok(Response::new(request.into_inner()))
        }
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let layer = world.keys().serve_grpc().recheck().require(Access::scope(READ)).unwrap();
    let router = Server::builder().layer(layer).add_service(TextService(handler));
    tokio::spawn(router.serve_with_incoming(TcpIncoming::from(listener)));
    let status = call(&connect(address).await, "Call", Some(&key.token)).await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
}
