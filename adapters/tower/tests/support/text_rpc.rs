//! A gRPC service and its client without generated code: text requests and text responses.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Buf, BufMut};
use tonic::{
    Request, Response, Status,
    body::Body,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    server::NamedService,
    transport::Channel,
};
use tower::{Service, service_fn};

/// A codec for plain text messages.
#[derive(Clone, Copy, Default)]
pub(crate) struct Text;

impl Codec for Text {
    type Encode = String;
    type Decode = String;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Text {
    type Item = String;
    type Error = Status;

    fn encode(&mut self, item: String, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put_slice(item.as_bytes());
        Ok(())
    }
}

impl Decoder for Text {
    type Item = String;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<String>, Status> {
        let bytes = buffer.copy_to_bytes(buffer.remaining());
        String::from_utf8(bytes.to_vec()).map(Some).map_err(|_| Status::internal("not a text"))
    }
}

/// Serves `/test.Text/Call` with a function.
#[derive(Clone)]
pub(crate) struct TextService<F>(pub(crate) F);

impl<F> NamedService for TextService<F> {
    const NAME: &'static str = "test.Text";
}

impl<F, R> Service<http::Request<Body>> for TextService<F>
where
    F: Fn(Request<String>) -> R + Clone + Send + 'static,
    R: Future<Output = Result<Response<String>, Status>> + Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let handler = service_fn(self.0.clone());
        Box::pin(async move { Ok(tonic::server::Grpc::new(Text).unary(handler, request).await) })
    }
}

/// Calls `/test.Text/{method}` with a bearer token, if there is one.
pub(crate) async fn call(
    channel: &Channel,
    method: &str,
    token: Option<&str>,
) -> Result<Response<String>, Status> {
    let mut client = tonic::client::Grpc::new(channel.clone());
    client.ready().await.expect("the server listens");
    let mut request = Request::new("hello".to_owned());
    if let Some(token) = token {
        let value = format!("Bearer {token}").parse().expect("a header");
        request.metadata_mut().insert("authorization", value);
    }
    let path = format!("/test.Text/{method}").parse().expect("a path");
    client.unary(request, path, Text).await
}
