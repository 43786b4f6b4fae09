//! The rules that Edgekeep's gate and keep both obey.
#![no_std]

extern crate alloc;

pub mod error;
