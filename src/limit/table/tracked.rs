//! All windows of one key: each admits, or none is charged.

use crate::{
    limit::{decision::Binding, window::Window},
    quota::{Precision, Quota, Quotas},
};

/// The windows of a key: usually one, several behind a pointer.
///
/// Windows do not share stamps, because each has its own effective time. A step of the clock may be
/// long for the short window and short for the long one; each handles it as if it were alone.
#[derive(Clone, Debug)]
pub(super) enum Tracked {
    One(Window),
    Many(Box<[Window]>),
}

/// The effective time of an admission in each window, needed to refund it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Stamps([u64; Quotas::MAX]);

impl Tracked {
    /// Builds empty windows for these quotas.
    pub(super) fn new(quotas: &Quotas) -> Self {
        Self::with(quotas, Window::new)
    }

    /// Builds a window for each quota.
    pub(super) fn with(quotas: &Quotas, window: impl Fn(&Quota) -> Window) -> Self {
        match quotas.as_slice() {
            [quota] => Self::One(window(quota)),
            all => Self::Many(all.iter().map(window).collect()),
        }
    }

    /// Takes the shape of `quotas`. Returns whether the shape changed: then a window of an unchanged
    /// length is kept, and a new one begins with the admissions of the longest present window.
    pub(super) fn fit(&mut self, quotas: &Quotas) -> bool {
        if self.fits(quotas) {
            return false;
        }
        let present = self.windows();
        let fitted = |quota: &Quota| {
            let same = present.iter().find(|window| {
                window.span() == quota.window_millis() && window.keeps(quota.precision())
            });
            match (same, present.last()) {
                (Some(same), _) => same.clone(),
                (None, Some(longest)) => Window::inheriting(quota, longest),
                (None, None) => Window::new(quota),
            }
        };
        *self = Self::with(quotas, fitted);
        true
    }

    /// Decides on a request and changes nothing.
    pub(super) fn judge(&self, quotas: &Quotas, cost: u32, now: u64) -> Binding {
        if !self.fits(quotas) {
            let mut fitted = self.clone();
            fitted.fit(quotas);
            return fitted.judge(quotas, cost, now);
        }
        let bindings = quotas.as_slice().iter().zip(self.windows()).map(|(quota, window)| {
            Binding::of(quota, window.verdict(quota, &window.view(quota, now), cost), cost)
        });
        bindings.reduce(Binding::and).unwrap_or_else(|| Binding::without_place(quotas, now))
    }

    /// Forgets the admissions that have left and follows the clock. Returns whether it was set back.
    pub(super) fn settle(&mut self, quotas: &Quotas, now: u64) -> bool {
        let mut stepped = false;
        for (quota, window) in quotas.as_slice().iter().zip(self.windows_mut()) {
            let view = window.view(quota, now);
            stepped |= window.settle(quota, &view);
        }
        stepped
    }

    /// Counts a request that [`Tracked::judge`] allowed at the same `now`.
    pub(super) fn record(&mut self, quotas: &Quotas, cost: u32, now: u64) -> Stamps {
        let mut stamps = Stamps::default();
        let windows = quotas.as_slice().iter().zip(self.windows_mut());
        for ((quota, window), stamp) in windows.zip(&mut stamps.0) {
            let view = window.view(quota, now);
            *stamp = window.record(quota, &view, cost);
        }
        stamps
    }

    /// Takes an admission back in each window where it still counts. Returns whether any did.
    pub(super) fn refund(&mut self, stamps: &Stamps, cost: u32) -> bool {
        let mut refunded = false;
        for (window, &stamp) in self.windows_mut().iter_mut().zip(&stamps.0) {
            refunded |= window.refund(stamp, cost);
        }
        refunded
    }

    /// See [`Window::idle`].
    pub(super) fn idle(&self, now: u64) -> bool {
        self.windows().iter().all(|window| window.idle(now))
    }

    /// See [`Window::follow`].
    pub(super) fn follow(&mut self, now: u64) -> bool {
        self.windows_mut().iter_mut().fold(false, |stepped, window| window.follow(now) | stepped)
    }

    fn fits(&self, quotas: &Quotas) -> bool {
        match (self, quotas.as_slice()) {
            (Self::One(window), [quota]) => suits(window, quota),
            (Self::Many(windows), all) => {
                windows.len() == all.len()
                    && windows.iter().zip(all).all(|(window, quota)| {
                        window.span() == quota.window_millis() && window.keeps(quota.precision())
                    })
            }
            (Self::One(_), _) => false,
        }
    }

    fn windows(&self) -> &[Window] {
        match self {
            Self::One(window) => std::slice::from_ref(window),
            Self::Many(windows) => windows,
        }
    }

    fn windows_mut(&mut self) -> &mut [Window] {
        match self {
            Self::One(window) => std::slice::from_mut(window),
            Self::Many(windows) => windows,
        }
    }
}

/// Returns whether the single window of a key fits `quota`. A stamp has the same meaning under
/// every length; a segment has not.
#[inline]
fn suits(window: &Window, quota: &Quota) -> bool {
    window.keeps(quota.precision())
        && (quota.precision() == Precision::Exact || window.span() == quota.window_millis())
}
