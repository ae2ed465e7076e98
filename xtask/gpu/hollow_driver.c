/* A CUDA driver that computes nothing, and an NVRTC that only takes notes: with both in the places of libcuda and libnvrtc, a run
   goes through CubeCL's CUDA path for the GPU that ARCHITECTURE names, such as 90, on a machine that has none. Memory is the
   process's own and starts as zeros; a launch does nothing.

   Every program that NVRTC is asked for is written into the folder KERNELS, once however often it is asked for: the words of STEP
   and the options as comments, then the source. compile_kernels.py compiles them. See compile.sh. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

typedef uint64_t Address;

static int architecture(void) {
    const char *stated = getenv("ARCHITECTURE");
    return stated ? atoi(stated) : 80;
}

/* Handles of which nobody looks inside. */
static void *handle(void) {
    static char one;
    return &one;
}

/* Devices */

int cuInit(unsigned flags) { return 0; }
int cuDriverGetVersion(int *version) { *version = 13000; return 0; }
int cuDeviceGetCount(int *count) { *count = 1; return 0; }
int cuDeviceGet(int *device, int index) { *device = index; return 0; }
int cuDeviceGetName(char *name, int size, int device) { snprintf(name, size, "hollow sm_%d", architecture()); return 0; }
int cuDeviceGetPCIBusId(char *id, int size, int device) { snprintf(id, size, "0000:00:00.0"); return 0; }
int cuDeviceGetUuid(char *uuid, int device) { memset(uuid, 0, 16); return 0; }
int cuDeviceGetUuid_v2(char *uuid, int device) { memset(uuid, 0, 16); return 0; }
int cuDeviceTotalMem_v2(size_t *bytes, int device) { *bytes = (size_t)80 << 30; return 0; }
int cuMemGetInfo_v2(size_t *left, size_t *bytes) { *left = *bytes = (size_t)80 << 30; return 0; }

/* As CUDA's documentation states them of the three data centre GPUs; CUdevice_attribute by its number. */
int cuDeviceGetAttribute(int *value, int attribute, int device) {
    int arch = architecture();
    switch (attribute) {
    case 1: case 2: case 3: *value = 1024; break;          /* threads of a block, and along x and y */
    case 4: *value = 64; break;                            /* along z */
    case 5: *value = 2147483647; break;                    /* blocks along x */
    case 6: case 7: *value = 65535; break;                 /* along y and z */
    case 8: *value = 49152; break;                         /* shared memory of a block */
    case 10: *value = 32; break;                           /* threads of a warp */
    case 16: *value = arch >= 100 ? 148 : arch >= 90 ? 132 : 108; break;
    case 75: *value = arch / 10; break;
    case 76: *value = arch % 10; break;
    case 81: *value = arch >= 90 ? 233472 : 167936; break; /* shared memory of a multiprocessor */
    case 97: *value = arch >= 90 ? 232448 : 166912; break; /* the most that a block may ask for */
    default: *value = 1;
    }
    return 0;
}

int cuDevicePrimaryCtxRetain(void **context, int device) { *context = handle(); return 0; }
int cuDevicePrimaryCtxRelease_v2(int device) { return 0; }
int cuCtxSetCurrent(void *context) { return 0; }
int cuCtxGetCurrent(void **context) { *context = handle(); return 0; }
int cuCtxSetFlags(unsigned flags) { return 0; }
int cuCtxSynchronize(void) { return 0; }
int cuCtxGetStreamPriorityRange(int *least, int *greatest) { *least = *greatest = 0; return 0; }
int cuGetErrorName(int error, const char **name) { *name = "hollow"; return 0; }
int cuGetErrorString(int error, const char **text) { *text = "the hollow driver has no errors"; return 0; }

/* Streams and events. CubeCL repeats what it measures until enough time has passed. Between events that is counted in launches, of ten
   milliseconds each. When it measures a GPU's peak it looks at the clock, so whoever waits for such a kernel waits so long. */

static _Atomic uint64_t launches;
struct Event { uint64_t launches; };

int cuStreamCreate(void **stream, unsigned flags) { *stream = malloc(1); return 0; }
int cuStreamCreateWithPriority(void **stream, unsigned flags, int priority) { *stream = malloc(1); return 0; }
int cuStreamDestroy_v2(void *stream) { return 0; }
static _Atomic int of_peak;
int cuStreamSynchronize(void *stream) {
    if (of_peak) usleep(25000);
    of_peak = 0;
    return 0;
}
int cuStreamWaitEvent(void *stream, void *event, unsigned flags) { return 0; }
int cuStreamIsCapturing(void *stream, int *status) { *status = 0; return 0; }
int cuEventCreate(struct Event **event, unsigned flags) { *event = calloc(1, sizeof **event); return 0; }
int cuEventRecord(struct Event *event, void *stream) { event->launches = launches; return 0; }
int cuEventQuery(void *event) { return 0; }
int cuEventSynchronize(void *event) { return cuStreamSynchronize(NULL); }
int cuEventElapsedTime(float *milliseconds, struct Event *from, struct Event *to) {
    *milliseconds = 10.0f * (to->launches - from->launches);
    return 0;
}
int cuEventElapsedTime_v2(float *milliseconds, struct Event *from, struct Event *to) {
    return cuEventElapsedTime(milliseconds, from, to);
}
int cuEventDestroy_v2(void *event) { free(event); return 0; }

/* Memory: pages that nobody writes take none. */

static int allocate(Address *address, size_t bytes) {
    size_t *pages = mmap(NULL, bytes + 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (pages == MAP_FAILED) return 2;
    *pages = bytes + 4096;
    *address = (Address)pages + 4096;
    return 0;
}
static int release(Address address) {
    size_t *pages = (size_t *)(address - 4096);
    return address && munmap(pages, *pages) ? 1 : 0;
}

int cuMemAlloc_v2(Address *address, size_t bytes) { return allocate(address, bytes); }
int cuMemAllocAsync(Address *address, size_t bytes, void *stream) { return allocate(address, bytes); }
int cuMemFree_v2(Address address) { return release(address); }
int cuMemFreeAsync(Address address, void *stream) { return release(address); }
int cuMemAllocHost_v2(void **memory, size_t bytes) { return allocate((Address *)memory, bytes); }
int cuMemHostAlloc(void **memory, size_t bytes, unsigned flags) { return allocate((Address *)memory, bytes); }
int cuMemFreeHost(void *memory) { return release((Address)memory); }
int cuMemcpyHtoD_v2(Address to, const void *from, size_t bytes) { memcpy((void *)to, from, bytes); return 0; }
int cuMemcpyHtoDAsync_v2(Address to, const void *from, size_t bytes, void *stream) { memcpy((void *)to, from, bytes); return 0; }
int cuMemcpyDtoH_v2(void *to, Address from, size_t bytes) { memcpy(to, (void *)from, bytes); return 0; }
int cuMemcpyDtoHAsync_v2(void *to, Address from, size_t bytes, void *stream) { memcpy(to, (void *)from, bytes); return 0; }
int cuMemcpyDtoDAsync_v2(Address to, Address from, size_t bytes, void *stream) {
    memmove((void *)to, (void *)from, bytes);
    return 0;
}
int cuMemsetD8Async(Address to, unsigned char value, size_t bytes, void *stream) { memset((void *)to, value, bytes); return 0; }

/* CUDA_MEMCPY2D: where from, where to, and how much. Memory of the types host (1) and device (2) is the same here. */
struct Rows {
    struct { size_t x, y; int type; void *host; Address device; void *array; size_t pitch; } from, to;
    size_t width, height;
};
int cuMemcpy2DAsync_v2(const struct Rows *rows, void *stream) {
    char *from = rows->from.type == 1 ? rows->from.host : (char *)rows->from.device;
    char *to = rows->to.type == 1 ? rows->to.host : (char *)rows->to.device;
    for (size_t row = 0; row < rows->height; row++)
        memcpy(to + (rows->to.y + row) * rows->to.pitch + rows->to.x,
               from + (rows->from.y + row) * rows->from.pitch + rows->from.x, rows->width);
    return 0;
}

/* Kernels */

int cuModuleLoadData(void **module, const void *image) { *module = handle(); return 0; }
int cuModuleUnload(void *module) { return 0; }
static char of_a_peak, of_another;
int cuModuleGetFunction(void **function, void *module, const char *name) {
    *function = strstr(name, "throughput") || strstr(name, "launch_overhead") ? &of_a_peak : &of_another;
    return 0;
}
static int launch(void *function) {
    launches++;
    if (function == &of_a_peak) of_peak = 1;
    return 0;
}
int cuFuncSetAttribute(void *function, int attribute, int value) { return 0; }
int cuFuncGetAttribute(int *value, int attribute, void *function) { *value = 0; return 0; }
int cuLaunchKernel(void *function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned shared,
                   void *stream, void **arguments, void **extra) { return launch(function); }
int cuLaunchKernelEx(const void *how, void *function, void **arguments, void **extra) { return launch(function); }
int cuTensorMapEncodeTiled(void *map) { memset(map, 0, 128); return 0; }
int cuTensorMapEncodeIm2col(void *map) { memset(map, 0, 128); return 0; }
int cuTensorMapEncodeIm2colWide(void *map) { memset(map, 0, 128); return 0; }

/* NVRTC */

/* In place of the compiled kernel, in which this driver does not look. */
static const char NOTHING[] = "// compiled later";

int nvrtcVersion(int *major, int *minor) { *major = 13; *minor = 0; return 0; }
const char *nvrtcGetErrorString(int error) { return "the hollow NVRTC has no errors"; }
int nvrtcCreateProgram(void **program, const char *source, const char *name, int count, const char *const *headers,
                       const char *const *names) {
    *program = strdup(source);
    return 0;
}
int nvrtcDestroyProgram(void **program) { free(*program); return 0; }
int nvrtcGetPTXSize(void *program, size_t *size) { *size = sizeof NOTHING; return 0; }
int nvrtcGetPTX(void *program, char *ptx) { memcpy(ptx, NOTHING, sizeof NOTHING); return 0; }
int nvrtcGetProgramLogSize(void *program, size_t *size) { *size = 1; return 0; }
int nvrtcGetProgramLog(void *program, char *log) { *log = 0; return 0; }

/* FNV-1a. */
static uint64_t hashed(uint64_t hash, const char *text) {
    while (*text) hash = (hash ^ (unsigned char)*text++) * 1099511628211u;
    return hash;
}

int nvrtcCompileProgram(void *program, int count, const char *const *options) {
    uint64_t hash = hashed(14695981039346656037u, program);
    for (int i = 0; i < count; i++) hash = hashed(hash, options[i]);
    char path[4096];
    snprintf(path, sizeof path, "%s/%016lx.cu", getenv("KERNELS"), (unsigned long)hash);
    FILE *file = fopen(path, "wx");
    if (!file) return 0;
    fprintf(file, "// %s\n", getenv("STEP"));
    for (int i = 0; i < count; i++) fprintf(file, "// %s\n", options[i]);
    fprintf(file, "\n%s", (const char *)program);
    fclose(file);
    return 0;
}
