//! WhatsApp Cloud API.

pub mod fake;
