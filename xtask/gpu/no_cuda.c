/* A CUDA driver without a GPU: memory is the processor's, a launch does nothing, and every kernel is accepted.
 *
 * With it CubeCL writes the CUDA C++ of every kernel of a run and NVRTC compiles it for the architecture that the variable
 * NO_CUDA_ARCH states (80, 90 or 100; 90 unless told), on any machine: see compile.sh. Signatures are those of cuda.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef int Result;
typedef unsigned long long Address;
enum { OK = 0, NOT_SUPPORTED = 801 };

static int arch(void) {
    const char *said = getenv("NO_CUDA_ARCH");
    return said == NULL ? 90 : atoi(said);
}

/* Any handle: none of them is looked into. */
static Result handle(void **made) { return *made = malloc(1), OK; }

Result cuInit(unsigned flags) { return (void)flags, OK; }
Result cuDriverGetVersion(int *version) { return *version = 12080, OK; }
Result cuDeviceGetCount(int *count) { return *count = 1, OK; }
Result cuDeviceGet(int *device, int ordinal) { return *device = ordinal, OK; }
Result cuDeviceGetName(char *name, int length, int device) {
    (void)device;
    snprintf(name, (size_t)length, "no GPU, sm_%d", arch());
    return OK;
}
Result cuDeviceGetUuid(void *uuid, int device) { return (void)device, memset(uuid, 0, 16), OK; }
Result cuDeviceGetUuid_v2(void *uuid, int device) { return cuDeviceGetUuid(uuid, device); }
Result cuDeviceGetPCIBusId(char *id, int length, int device) {
    return (void)device, snprintf(id, (size_t)length, "0000:00:00.0"), OK;
}
Result cuDeviceTotalMem_v2(size_t *bytes, int device) { return (void)device, *bytes = (size_t)80 << 30, OK; }
Result cuMemGetInfo_v2(size_t *left, size_t *all) { return *left = *all = (size_t)80 << 30, OK; }

/* An H100's, by the numbers of CUdevice_attribute. */
Result cuDeviceGetAttribute(int *value, int attribute, int device) {
    (void)device;
    switch (attribute) {
    case 1: *value = 1024; break;               /* threads of a block */
    case 2: case 3: *value = 1024; break;       /* of a block along x, y */
    case 4: *value = 64; break;                 /* along z */
    case 5: *value = 2147483647; break;         /* blocks along x */
    case 6: case 7: *value = 65535; break;      /* along y, z */
    case 8: *value = 49152; break;              /* shared memory of a block */
    case 10: *value = 32; break;                /* threads of a warp */
    case 16: *value = 132; break;               /* multiprocessors */
    case 75: *value = arch() / 10; break;       /* compute capability */
    case 76: *value = arch() % 10; break;
    case 97: *value = arch() == 80 ? 166912 : 232448; break; /* shared memory of a block that asks for it */
    case 115: *value = 1; break;                /* memory pools */
    default: *value = 0;
    }
    return OK;
}

Result cuDevicePrimaryCtxRetain(void **context, int device) { return (void)device, handle(context); }
Result cuDevicePrimaryCtxRelease_v2(int device) { return (void)device, OK; }
Result cuCtxSetCurrent(void *context) { return (void)context, OK; }
Result cuCtxGetCurrent(void **context) { return handle(context); }
Result cuCtxSynchronize(void) { return OK; }
Result cuCtxGetStreamPriorityRange(int *least, int *greatest) { return *least = 0, *greatest = -5, OK; }

Result cuStreamCreate(void **stream, unsigned flags) { return (void)flags, handle(stream); }
Result cuStreamCreateWithPriority(void **stream, unsigned flags, int priority) {
    return (void)flags, (void)priority, handle(stream);
}
Result cuStreamSynchronize(void *stream) { return (void)stream, OK; }
Result cuStreamQuery(void *stream) { return (void)stream, OK; }
Result cuStreamDestroy_v2(void *stream) { return free(stream), OK; }
Result cuStreamWaitEvent(void *stream, void *event, unsigned flags) {
    return (void)stream, (void)event, (void)flags, OK;
}

Result cuEventCreate(void **event, unsigned flags) { return (void)flags, handle(event); }
Result cuEventRecord(void *event, void *stream) { return (void)event, (void)stream, OK; }
Result cuEventSynchronize(void *event) { return (void)event, OK; }
Result cuEventQuery(void *event) { return (void)event, OK; }
Result cuEventDestroy_v2(void *event) { return free(event), OK; }
Result cuEventElapsedTime(float *milliseconds, void *begin, void *end) {
    return (void)begin, (void)end, *milliseconds = 0.01f, OK;
}
Result cuEventElapsedTime_v2(float *milliseconds, void *begin, void *end) {
    return cuEventElapsedTime(milliseconds, begin, end);
}

/* Zeros, so that what no kernel has written is finite. */
Result cuMemAlloc_v2(Address *address, size_t bytes) {
    return *address = (Address)calloc(1, bytes), *address == 0 ? 2 : OK;
}
Result cuMemAllocAsync(Address *address, size_t bytes, void *stream) {
    return (void)stream, cuMemAlloc_v2(address, bytes);
}
Result cuMemFree_v2(Address address) { return free((void *)address), OK; }
Result cuMemFreeAsync(Address address, void *stream) { return (void)stream, cuMemFree_v2(address); }
Result cuMemAllocHost_v2(void **address, size_t bytes) { return *address = calloc(1, bytes), OK; }
Result cuMemFreeHost(void *address) { return free(address), OK; }
Result cuMemcpyHtoDAsync_v2(Address to, const void *from, size_t bytes, void *stream) {
    return (void)stream, memcpy((void *)to, from, bytes), OK;
}
Result cuMemcpyDtoHAsync_v2(void *to, Address from, size_t bytes, void *stream) {
    return (void)stream, memcpy(to, (void *)from, bytes), OK;
}
Result cuMemcpyDtoDAsync_v2(Address to, Address from, size_t bytes, void *stream) {
    return (void)stream, memmove((void *)to, (void *)from, bytes), OK;
}
Result cuMemsetD8Async(Address to, unsigned char value, size_t bytes, void *stream) {
    return (void)stream, memset((void *)to, value, bytes), OK;
}

/* CUDA_MEMCPY2D. */
struct Copy {
    size_t from_x, from_y;
    unsigned from_kind;
    const void *from_host;
    Address from_device;
    void *from_array;
    size_t from_pitch, to_x, to_y;
    unsigned to_kind;
    void *to_host;
    Address to_device;
    void *to_array;
    size_t to_pitch, width, height;
};
enum { HOST = 1 };
Result cuMemcpy2DAsync_v2(const struct Copy *copy, void *stream) {
    (void)stream;
    const char *from = copy->from_kind == HOST ? copy->from_host : (const char *)copy->from_device;
    char *to = copy->to_kind == HOST ? copy->to_host : (char *)copy->to_device;
    for (size_t row = 0; row < copy->height; row++)
        memcpy(to + (copy->to_y + row) * copy->to_pitch + copy->to_x,
               from + (copy->from_y + row) * copy->from_pitch + copy->from_x, copy->width);
    return OK;
}

Result cuModuleLoadData(void **module, const void *image) { return (void)image, handle(module); }
Result cuModuleUnload(void *module) { return free(module), OK; }
Result cuModuleGetFunction(void **function, void *module, const char *name) {
    return (void)module, (void)name, handle(function);
}
Result cuFuncSetAttribute(void *function, int attribute, int value) {
    return (void)function, (void)attribute, (void)value, OK;
}
Result cuLaunchKernel(void *function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                      unsigned shared, void *stream, void **arguments, void **more) {
    (void)function, (void)gx, (void)gy, (void)gz, (void)bx, (void)by, (void)bz, (void)shared;
    return (void)stream, (void)arguments, (void)more, OK;
}

/* A CUtensorMap is 128 bytes that only the GPU reads. */
Result cuTensorMapEncodeTiled(void *map) { return memset(map, 0, 128), OK; }
Result cuTensorMapEncodeIm2col(void *map) { return memset(map, 0, 128), OK; }
Result cuTensorMapEncodeIm2colWide(void *map) { return memset(map, 0, 128), OK; }

Result cuGetErrorName(Result error, const char **text) { return (void)error, *text = "CUDA_ERROR", OK; }
Result cuGetErrorString(Result error, const char **text) { return (void)error, *text = "of the driver without a GPU", OK; }
Result cuStreamBeginCapture_v2(void *stream, int mode) { return (void)stream, (void)mode, NOT_SUPPORTED; }
