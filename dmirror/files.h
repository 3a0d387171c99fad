/* SPDX-License-Identifier: MIT */
/*
 * files.h - which descriptors of this process are open files of the device.
 *
 * A descriptor is a memfd's, so that its number is the kernel's to give and everything else
 * (dup, close-on-exec, passing on) works as ever. A file is known by its inode; its numbers
 * are noted, and compared with the inode each time, since a program may close them in ways
 * that are not seen here. A number made by fcntl() is learned when it is first used.
 *
 * A forked child finds no files (they lie in memory that is wiped), and the inodes that it
 * has inherited: those answer -ENODEV, the memory behind them is the parent's.
 */
#ifndef HMMU_DMIRROR_FILES_H
#define HMMU_DMIRROR_FILES_H

#include "dmirror.h"

/* Zeroed memory, once. */
int mir_files_init(void);

/* The number of a new descriptor, or -errno. */
int mir_file_open(unsigned int device, bool cloexec);
/* Could it be ours? Loads only. */
bool mir_files_any(void);

/* -ENOTTY: it is none of ours. */
int mir_file_ioctl(int fd, unsigned long request, void *arg);
/* The file is made as long as the mapping wants it: 0, -ENOTTY, -errno. */
int mir_file_extend(int fd, unsigned long bytes);
/* @fd is about to be closed; it may be anybody's. */
void mir_file_closing(int fd);
/* @fd is a new name of what @old is. */
void mir_file_dup(int old, int fd);

#endif /* HMMU_DMIRROR_FILES_H */
