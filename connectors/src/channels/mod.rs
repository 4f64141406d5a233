//! The register of channels: one line each.

pub mod messenger;
pub mod whatsapp;
