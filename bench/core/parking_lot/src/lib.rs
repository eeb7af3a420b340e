//! Rust's parking_lot for the driver in C: its raw locks by pointer, and loops in which its fast path is inlined.

use std::hint::black_box;

use parking_lot::lock_api::{RawMutex as _, RawRwLock as _};
use parking_lot::{RawMutex, RawRwLock};

macro_rules! verb {
    ($name:ident, $lock:ty, $call:ident) => {
        /// # Safety
        /// `lock` points to a lock of this type; who unlocks holds it so.
        #[no_mangle]
        pub unsafe extern "C" fn $name(lock: *const $lock) {
            unsafe { (*lock).$call() }
        }
    };
}

verb!(pl_mutex_lock, RawMutex, lock);
verb!(pl_mutex_unlock, RawMutex, unlock);
verb!(pl_read_lock, RawRwLock, lock_shared);
verb!(pl_read_unlock, RawRwLock, unlock_shared);
verb!(pl_write_lock, RawRwLock, lock_exclusive);
verb!(pl_write_unlock, RawRwLock, unlock_exclusive);

macro_rules! loops {
    ($name:ident, $lock:ty, $take:ident, $leave:ident) => {
        /// # Safety
        /// As above; nobody else uses the lock.
        #[no_mangle]
        pub unsafe extern "C" fn $name(lock: *const $lock, times: u64) {
            for _ in 0..times {
                let lock = unsafe { &*black_box(lock) };
                lock.$take();
                unsafe { lock.$leave() };
            }
        }
    };
}

loops!(pl_mutex_loop, RawMutex, lock, unlock);
loops!(pl_read_loop, RawRwLock, lock_shared, unlock_shared);
loops!(pl_write_loop, RawRwLock, lock_exclusive, unlock_exclusive);

