//! An interval that we say, and the range of what the other end may still believe of it.

/// Between a change and the F that confirms it, the other end may go by any value said since the last confirmation
/// (RFC 5880 section 6.8.3): we send as fast as the least of them asks, and wait as long as the most of them allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Advertised {
    /// In packets from now on, in microseconds.
    pub(super) value: u32,
    least: u32,
    most: u32,
}

impl Advertised {
    pub(super) fn new(value: u32) -> Self {
        Self { value, least: value, most: value }
    }

    pub(super) fn set(&mut self, value: u32) {
        *self = Self { value, least: self.least.min(value), most: self.most.max(value) };
    }

    /// The other end has heard the value.
    pub(super) fn confirm(&mut self) {
        *self = Self::new(self.value);
    }

    pub(super) fn least(&self) -> u32 {
        self.least
    }

    pub(super) fn most(&self) -> u32 {
        self.most
    }
}
