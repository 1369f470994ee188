//! End-to-end tests: the real program, real servers, simulators for providers. One binary, so that it links once.

#![allow(clippy::expect_used, clippy::panic)]

mod support;

mod bad_input;
mod browser;
mod chaos;
mod custom;
mod fleet;
mod full_disk;
mod kit;
mod lanes;
mod lost;
mod media;
mod operator;
mod way;
