/** The NSM's ioctl. Opened anew each time: a document is asked for once in minutes, and nothing is kept between. */

#include "nsm.h"

#include <errno.h>

#ifdef __linux__

#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

/** `struct nsm_iovec` and `struct nsm_raw` of linux/nsm.h, which older headers lack. */
struct nsm_buffer {
    uint64_t address;
    uint64_t length;
};
struct nsm_message {
    struct nsm_buffer request;
    struct nsm_buffer response;
};
#define NSM_IOCTL_RAW _IOWR(0x0A, 0, struct nsm_message)

int nsm_exchange(const char *path, const uint8_t *request, size_t request_length, uint8_t *response,
                 size_t *response_length)
{
    struct nsm_message message = {
        .request = {(uintptr_t)request, request_length},
        .response = {(uintptr_t)response, NSM_RESPONSE_BYTES},
    };
    if (request_length < 1 || request_length > NSM_REQUEST_BYTES) return EMSGSIZE;
    int device = open(path, O_RDWR | O_CLOEXEC);
    if (device < 0) return errno;
    int result = ioctl(device, NSM_IOCTL_RAW, &message) < 0 ? errno : 0;
    close(device);
    if (result != 0) return result;
    if (message.response.length > NSM_RESPONSE_BYTES) return EPROTO;
    *response_length = (size_t)message.response.length;
    return 0;
}

#else

int nsm_exchange(const char *path, const uint8_t *request, size_t request_length, uint8_t *response,
                 size_t *response_length)
{
    (void)path, (void)request, (void)request_length, (void)response, (void)response_length;
    return ENOSYS;
}

#endif
