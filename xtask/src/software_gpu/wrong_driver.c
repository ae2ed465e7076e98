/* A Vulkan driver that is wrong: Mesa's llvmpipe, with every floating-point addition of a shader made a subtraction.
 *
 * The loader asks a driver for its functions by name. This one hands out those of llvmpipe, whose library the variable
 * RIGHT_DRIVER names, but for vkCreateShaderModule. The layouts are those of vulkan_core.h and of the SPIR-V specification,
 * section 2.3: five words, then instructions, each beginning with its length and its code. */
#include <dlfcn.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef void (*Function)(void);
typedef Function (*Find)(void *, const char *);

struct ModuleInfo {
    uint32_t type;
    const void *next;
    uint32_t flags;
    size_t size;
    const uint32_t *code;
};
typedef int32_t (*CreateModule)(void *, const struct ModuleInfo *, const void *, void *);

enum { HEADER = 5, ADD = 129, SUBTRACT = 131 };

static Find find_of_instance, find_of_device;
static CreateModule create_module;

static int32_t create_wrong_module(void *device, const struct ModuleInfo *info, const void *allocator, void *made) {
    uint32_t *code = malloc(info->size);
    memcpy(code, info->code, info->size);
    for (size_t at = HEADER; at < info->size / 4 && code[at] >> 16 != 0; at += code[at] >> 16)
        if ((code[at] & 0xffff) == ADD)
            code[at] = (code[at] & 0xffff0000) | SUBTRACT;
    struct ModuleInfo wrong = *info;
    wrong.code = code;
    int32_t result = create_module(device, &wrong, allocator, made);
    free(code);
    return result;
}

static Function wrong_or(Function found, const char *name) {
    if (found == NULL || strcmp(name, "vkCreateShaderModule") != 0)
        return found;
    create_module = (CreateModule)found;
    return (Function)create_wrong_module;
}

static Function find_in_device(void *device, const char *name) {
    return wrong_or(find_of_device(device, name), name);
}

static void *library(void) {
    static void *opened;
    if (opened == NULL)
        opened = dlopen(getenv("RIGHT_DRIVER"), RTLD_NOW | RTLD_LOCAL);
    return opened;
}

Function vk_icdGetInstanceProcAddr(void *instance, const char *name) {
    if (find_of_instance == NULL)
        find_of_instance = (Find)dlsym(library(), "vk_icdGetInstanceProcAddr");
    Function found = find_of_instance(instance, name);
    if (found != NULL && strcmp(name, "vkGetDeviceProcAddr") == 0) {
        find_of_device = (Find)found;
        return (Function)find_in_device;
    }
    return wrong_or(found, name);
}

Function vk_icdGetPhysicalDeviceProcAddr(void *instance, const char *name) {
    Find find = (Find)dlsym(library(), "vk_icdGetPhysicalDeviceProcAddr");
    return find == NULL ? NULL : find(instance, name);
}

int32_t vk_icdNegotiateLoaderICDInterfaceVersion(uint32_t *version) {
    int32_t (*negotiate)(uint32_t *) =
        (int32_t (*)(uint32_t *))dlsym(library(), "vk_icdNegotiateLoaderICDInterfaceVersion");
    return negotiate(version);
}
