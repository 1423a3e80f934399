//! The body of a response that went through the layer.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

pin_project! {
    /// Either the body of the inner service, unchanged, or that of a refusal.
    ///
    /// It is a type of its own and no bound such as `From<Bytes>` on the inner body, because the
    /// bodies have no common constructor: axum's has `From<Bytes>`, tonic's has not, and a boxed
    /// one has none at all. Data and error are those of the inner body, so hyper, axum's
    /// `route_layer` and tonic's `Server::layer` accept it wherever they accept that. Its
    /// [`Default`] is an empty refusal, which tower-http's CORS and timeout layers require of
    /// the bodies that pass through them.
    pub struct ResponseBody<B> {
        #[pin]
        inner: Inner<B>,
    }
}

pin_project! {
    #[project = InnerProjection]
    enum Inner<B> {
        Served { #[pin] body: B },
        Refused { bytes: Option<Bytes> },
    }
}

impl<B> ResponseBody<B> {
    /// Creates the body of a served request.
    pub(crate) const fn served(body: B) -> Self {
        Self { inner: Inner::Served { body } }
    }

    /// Creates the body of a refusal. Without bytes it is at its end from the start, so that
    /// HTTP/2 sends it in the frame of the headers.
    pub(crate) fn refused(bytes: Bytes) -> Self {
        Self { inner: Inner::Refused { bytes: Some(bytes).filter(|bytes| !bytes.is_empty()) } }
    }
}

impl<B> Default for ResponseBody<B> {
    fn default() -> Self {
        Self::refused(Bytes::new())
    }
}

impl<B> fmt::Debug for ResponseBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.inner {
            Inner::Served { .. } => "Served",
            Inner::Refused { .. } => "Refused",
        };
        f.debug_tuple("ResponseBody").field(&format_args!("{name}")).finish()
    }
}

impl<B> Body for ResponseBody<B>
where
    B: Body,
    B::Data: From<Bytes>,
{
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        match self.project().inner.project() {
            InnerProjection::Served { body } => body.poll_frame(context),
            InnerProjection::Refused { bytes } => {
                Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes.into()))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.inner {
            Inner::Served { body } => body.is_end_stream(),
            Inner::Refused { bytes } => bytes.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.inner {
            Inner::Served { body } => body.size_hint(),
            Inner::Refused { bytes } => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
        }
    }
}
