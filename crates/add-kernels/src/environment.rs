//! The environment of the process, which drivers read.

/// Leaves out the layer of Mesa that puts a desktop's GPU first, on Linux: it looks for the desktop, and writes ten lines about a
/// machine that has none. Whoever chooses a GPU by it, with `MESA_VK_DEVICE_SELECT`, keeps it.
///
/// To be called before the process starts a thread: the environment has no lock.
pub fn keep_gpus_in_their_order() {
    if cfg!(target_os = "linux") && std::env::var_os("MESA_VK_DEVICE_SELECT").is_none() {
        // SAFETY: no other thread reads the environment, as the caller was told.
        unsafe { std::env::set_var("NODEVICE_SELECT", "1") };
    }
}
