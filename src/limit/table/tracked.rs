//! All windows of one key. A window is identified by its length, its *shape*.
//!
//! A decision asks some of the shapes. All of those admit, or none is charged. The others are left
//! as they are, so that no decision forgets what another counted.

use crate::{
    limit::{
        decision::Binding,
        window::{Verdict, Window, effective},
    },
    quota::{Precision, Quota, quotas::Quotas},
};

/// The most shapes of one key that can be live at once.
pub(in crate::limit) const MAX_SHAPES: usize = 8;

/// The windows of a key: usually one, several behind a pointer.
///
/// Windows do not share stamps, because each has its own effective time. A step of the clock may be
/// long for the short window and short for the long one; each handles it as if it were alone.
#[derive(Clone, Debug)]
pub(super) enum Tracked {
    One(Window),
    Many(Box<[Window]>),
}

/// A new shape is asked while [`MAX_SHAPES`] others are live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::limit) struct TooManyWindows;

/// Returns whether one of the quotas asks this window.
fn is_asked(window: &Window, quotas: &Quotas) -> bool {
    quotas.as_slice().iter().any(|quota| quota.window_millis() == window.span())
}

/// The effective time of an admission in each shape, needed to refund it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Stamps([Stamp; Quotas::MAX]);

#[derive(Clone, Copy, Debug, Default)]
struct Stamp {
    span: u64,
    at: u64,
}

impl Tracked {
    /// Builds a window for each quota.
    pub(super) fn with(quotas: &Quotas, window: impl Fn(&Quota) -> Window) -> Self {
        match quotas.as_slice() {
            [quota] => Self::One(window(quota)),
            all => Self::Many(all.iter().map(window).collect()),
        }
    }

    /// Adds a window for each quota whose shape is new: the one that `counted` returns for what was
    /// counted in overflow, else one that begins no earlier than `floor`, with the admissions of the
    /// present window that has the most younger than its length; of equals, the longest. If there
    /// would be too many, those that are idle at `earlier` are dropped. Returns the end of the last
    /// one that was dropped.
    ///
    /// # Errors
    ///
    /// If there would be more than [`MAX_SHAPES`] windows. Then nothing has changed.
    pub(super) fn fit(
        &mut self,
        quotas: &Quotas,
        now: u64,
        earlier: u64,
        floor: u64,
        counted: impl Fn(&Quota) -> Option<Window>,
    ) -> Result<Option<u64>, TooManyWindows> {
        let missing = self.room(quotas, earlier)?;
        if missing == 0 {
            return Ok(None);
        }
        let all_fit = self.windows().len() + missing <= MAX_SHAPES;
        let kept = |window: &Window| all_fit || is_asked(window, quotas) || !window.idle(earlier);
        let dropped = self.windows().iter().filter(|window| !kept(window)).map(Window::end).max();
        let floor = floor.max(dropped.unwrap_or_default());
        let new = quotas.as_slice().iter().filter(|quota| self.of(quota).is_none());
        let begin = |quota| counted(quota).unwrap_or_else(|| self.begin(quota, now, floor));
        let new: Vec<Window> = new.map(begin).collect();
        let mut windows = match std::mem::replace(self, Self::Many(Box::default())) {
            Self::One(window) => vec![window],
            Self::Many(windows) => windows.into_vec(),
        };
        windows.retain(kept);
        windows.extend(new);
        *self = Self::Many(windows.into_boxed_slice());
        Ok(dropped)
    }

    /// Returns the number of quotas whose shape is new.
    ///
    /// # Errors
    ///
    /// If there would be more than [`MAX_SHAPES`] windows without those that are idle at `earlier`.
    pub(super) fn room(&self, quotas: &Quotas, earlier: u64) -> Result<usize, TooManyWindows> {
        let missing = quotas.as_slice().iter().filter(|quota| self.of(quota).is_none()).count();
        let kept = |window: &&Window| is_asked(window, quotas) || !window.idle(earlier);
        if missing > 0 && self.windows().iter().filter(kept).count() + missing > MAX_SHAPES {
            return Err(TooManyWindows);
        }
        Ok(missing)
    }

    /// Decides as after [`Tracked::fit`], and changes nothing.
    ///
    /// # Errors
    ///
    /// As for [`Tracked::fit`].
    pub(super) fn judge(
        &self,
        quotas: &Quotas,
        cost: u32,
        now: u64,
        earlier: u64,
        floor: u64,
        counted: impl Fn(&Quota) -> Option<Window>,
    ) -> Result<Binding, TooManyWindows> {
        self.room(quotas, earlier)?;
        let decide = |quota: &Quota, window: &Window| {
            Binding::of(quota, window.verdict(quota, &window.view(quota, now), cost), cost)
        };
        let bindings = quotas.as_slice().iter().map(|quota| match self.of(quota) {
            Some(window) => decide(quota, window),
            None => {
                let begun = counted(quota).unwrap_or_else(|| self.begin(quota, now, floor));
                decide(quota, &begun)
            }
        });
        Ok(bindings.reduce(Binding::and).unwrap_or_else(|| Binding::without_place(quotas, now)))
    }

    /// Decides on a cost of 0 in the window of `quota` as if it were asked under `asked`. A window
    /// that is new begins under `quota`, whose limit bounds its memory.
    pub(super) fn verdict(
        &self,
        quota: &Quota,
        asked: &Quota,
        now: u64,
        floor: u64,
        counted: impl Fn(&Quota) -> Option<Window>,
    ) -> Verdict {
        let decide = |window: &Window| window.verdict(asked, &window.view(asked, now), 0);
        match self.of(quota) {
            Some(window) => decide(window),
            None => decide(&counted(quota).unwrap_or_else(|| self.begin(quota, now, floor))),
        }
    }

    /// Forgets the admissions of the asked windows that have left, and follows the clock. Returns
    /// whether it was set back.
    pub(super) fn settle(&mut self, quotas: &Quotas, now: u64) -> bool {
        let mut stepped = false;
        self.for_each(quotas, |quota, window| {
            if quota.limit() > Quota::MAX_EXACT_LIMIT && window.keeps(Precision::Exact) {
                window.coarsen(quota);
            }
            let view = window.view(quota, now);
            stepped |= window.settle(&view);
            window.adopt(quota);
        });
        stepped
    }

    /// Counts a request that [`Tracked::judge`] allowed at the same `now`.
    pub(super) fn record(&mut self, quotas: &Quotas, cost: u32, now: u64) -> Stamps {
        let mut stamps = Stamps::default();
        let mut places = stamps.0.iter_mut();
        self.for_each(quotas, |quota, window| {
            let view = window.view(quota, now);
            let at = window.record(quota, &view, cost);
            if let Some(place) = places.next() {
                *place = Stamp { span: quota.window_millis(), at };
            }
        });
        stamps
    }

    /// Takes an admission back in each window where it still counts. Returns whether any did.
    pub(super) fn refund(&mut self, stamps: &Stamps, cost: u32) -> bool {
        let mut refunded = false;
        for window in self.windows_mut() {
            if let Some(stamp) = stamps.0.iter().find(|stamp| stamp.span == window.span()) {
                refunded |= window.refund(stamp.at, cost);
            }
        }
        refunded
    }

    /// See [`Window::idle`].
    pub(super) fn idle(&self, now: u64) -> bool {
        self.windows().iter().all(|window| window.idle(now))
    }

    /// Returns the first instant at which nothing of this key counts.
    pub(super) fn end(&self) -> u64 {
        self.windows().iter().map(Window::end).max().unwrap_or_default()
    }

    /// See [`Window::follow`].
    pub(super) fn follow(&mut self, now: u64) -> bool {
        self.windows_mut().iter_mut().fold(false, |stepped, window| window.follow(now) | stepped)
    }

    /// Returns the window of this shape.
    pub(super) fn of(&self, quota: &Quota) -> Option<&Window> {
        self.windows().iter().find(|window| window.span() == quota.window_millis())
    }

    /// Builds a window for a shape that the key does not have.
    pub(super) fn begin(&self, quota: &Quota, now: u64, floor: u64) -> Window {
        let span = quota.window_millis();
        // The longest first, because of equals the first is taken.
        let mut present: Vec<&Window> = self.windows().iter().collect();
        present.sort_unstable_by_key(|window| std::cmp::Reverse(window.span()));
        let mut most: Option<(u32, u64, &Window)> = None;
        for window in present {
            let now = window.effective(span, now);
            let count = window.younger_than(span, now, u32::MAX);
            if most.is_none_or(|(most, ..)| count > most) {
                most = Some((count, now, window));
            }
        }
        let start = |now| effective(floor, span, now);
        match most {
            Some((_, now, window)) => Window::inheriting(quota, window, start(now)),
            None => Window::new(quota, start(now)),
        }
    }

    /// Calls `act` with each quota and its window, in the order of the quotas.
    fn for_each(&mut self, quotas: &Quotas, mut act: impl FnMut(&Quota, &mut Window)) {
        for quota in quotas.as_slice() {
            let mut windows = self.windows_mut().iter_mut();
            if let Some(window) = windows.find(|window| window.span() == quota.window_millis()) {
                act(quota, window);
            }
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
