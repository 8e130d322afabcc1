/**
 * One exchange with the Nitro Security Module: CBOR bytes to `/dev/nsm` and back, as one ioctl (linux/nsm.h). What the
 * bytes say is not looked at.
 */

#ifndef TESTUDO_NSM_H
#define TESTUDO_NSM_H

#include <stddef.h>
#include <stdint.h>

/** The driver's own limits. */
#define NSM_REQUEST_BYTES 0x1000
#define NSM_RESPONSE_BYTES 0x3000

/**
 * Sends a request of 1 to NSM_REQUEST_BYTES bytes to the device at `path`, and puts the answer into `response`, which has
 * room for NSM_RESPONSE_BYTES; `*response_length` says how much of it was used. Blocks until the device answers.
 * Returns 0, or the errno of what failed: ENOTTY when the file is no NSM, ENOSYS where there are none (not Linux).
 */
int nsm_exchange(const char *path, const uint8_t *request, size_t request_length, uint8_t *response,
                 size_t *response_length);

#endif
