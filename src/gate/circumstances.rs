//! Where a request came from, and whether its key may come from there.

use std::net::IpAddr;

use crate::{
    request::{head::RequestHead, reason::RefusalReason, veto::Veto},
    verify::verified::Verified,
};

/// What a key is checked against after its secret is proved: where the request came from, and the veto
/// of the host.
#[derive(Clone, Debug, Default)]
pub(super) struct Circumstances {
    address: Option<IpAddr>,
    /// What few requests have.
    rare: Option<Box<Rare>>,
}

#[derive(Clone, Debug)]
struct Rare {
    /// The origins that the request names. There is one, unless somebody made the request by hand.
    origins: Vec<Box<[u8]>>,
    veto: Option<Veto>,
}

impl Circumstances {
    #[inline]
    pub(super) fn read<H: RequestHead>(head: &H) -> Self {
        let (veto, mut origins) = (head.veto(), head.header("origin").peekable());
        let rare = (veto.is_some() || origins.peek().is_some())
            .then(|| Box::new(Rare { origins: origins.map(Into::into).collect(), veto }));
        Self { address: head.client_ip(), rare }
    }

    /// Checks a proved key.
    ///
    /// # Errors
    ///
    /// The reason for which the request is refused, before it is charged.
    #[inline]
    pub(super) fn check(&self, verified: &Verified) -> Result<(), RefusalReason> {
        let record = verified.record();
        if let Some(networks) = record.networks() {
            let address = self.address.ok_or(RefusalReason::NoClientAddress)?;
            if !networks.admits(address) {
                return Err(RefusalReason::ForbiddenNetwork);
            }
        }
        if let Some(origins) = record.origins() {
            let sent = self.rare.as_ref().map(|rare| &*rare.origins).unwrap_or_default();
            let is_admitted =
                |origin: &[u8]| str::from_utf8(origin).is_ok_and(|origin| origins.admits(origin));
            // Of two different ones, whichever is taken, a proxy may have checked the other.
            if sent.is_empty() || !sent.iter().all(|origin| is_admitted(origin)) {
                return Err(RefusalReason::ForbiddenOrigin);
            }
        }
        let veto = self.rare.as_ref().and_then(|rare| rare.veto.as_ref());
        match veto.map(|veto| veto.check(verified)) {
            Some(Err(note)) => Err(RefusalReason::Vetoed { note }),
            Some(Ok(())) | None => Ok(()),
        }
    }
}
