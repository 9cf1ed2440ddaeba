/* Gives a program that sends INQUIRY to a SCSI disk the answers of a test: LD_PRELOADed into scsi_id.
 *
 * The environment holds them in hex: INQUIRY the standard answer, PAGE_00, PAGE_80 and PAGE_83 the VPD
 * pages. A page that is not there is an illegal request, as it is to a disk. Only the form of SG_IO that
 * scsi_id tries first is known (sg_io_v4; linux/bsg.h).
 */
#include <errno.h>
#include <linux/bsg.h>
#include <scsi/sg.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static size_t answer(const char *name, unsigned char *into, size_t room) {
    const char *hex = getenv(name);
    size_t length = 0;
    unsigned byte;

    while (hex && length < room && sscanf(hex, "%2x", &byte) == 1) {
        into[length++] = (unsigned char)byte;
        hex += 2;
    }
    return length;
}

int ioctl(int fd, unsigned long request, ...) {
    va_list arguments;
    va_start(arguments, request);
    struct sg_io_v4 *io = va_arg(arguments, struct sg_io_v4 *);
    va_end(arguments);
    (void)fd;
    if (request != SG_IO || io->guard != 'Q') {
        errno = ENOTTY;
        return -1;
    }

    const unsigned char *command = (const void *)(uintptr_t)io->request;
    unsigned char *sense = (void *)(uintptr_t)io->response;
    char name[] = "PAGE_00";
    if (command[1])
        snprintf(name, sizeof name, "PAGE_%02x", command[2]);
    else
        strcpy(name, "INQUIRY");

    io->driver_status = io->transport_status = io->device_status = 0;
    if (!answer(name, (void *)(uintptr_t)io->din_xferp, io->din_xfer_len)) {
        io->device_status = 2; /* CHECK CONDITION: ILLEGAL REQUEST */
        sense[0] = 0x70;
        sense[2] = 5;
        io->response_len = 18;
    }
    return 0;
}
