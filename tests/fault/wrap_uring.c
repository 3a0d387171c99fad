// SPDX-License-Identifier: MIT
/* wrap_uring.c - liburing's calls that the mirror makes. Its system calls are inline. */
#include <liburing.h>

#include "inject.h"

#define SITE __builtin_return_address(0)
#define WRAPPED(name, kind, params, args)                   \
	int __real_##name params;                           \
	int __wrap_##name params;                           \
	int __wrap_##name params                            \
	{                                                   \
		long ret = fault_call(kind, SITE);          \
                                                            \
		return ret ? (int)ret : __real_##name args; \
	}

WRAPPED(io_uring_queue_init_params, KIND_RING_SETUP,
	(unsigned int n, struct io_uring *ring, struct io_uring_params *p), (n, ring, p))
WRAPPED(io_uring_register_buffers_sparse, KIND_RING_REGISTER,
	(struct io_uring * ring, unsigned int n), (ring, n))
WRAPPED(io_uring_register_buffers_update_tag, KIND_RING_UPDATE,
	(struct io_uring * ring, unsigned int off, const struct iovec *iov, const __u64 *tags,
	 unsigned int n),
	(ring, off, iov, tags, n))
WRAPPED(io_uring_submit, KIND_RING_SUBMIT, (struct io_uring * ring), (ring))
WRAPPED(__io_uring_get_cqe, KIND_RING_WAIT,
	(struct io_uring * ring, struct io_uring_cqe **cqe, unsigned int submit,
	 unsigned int nr, sigset_t *mask),
	(ring, cqe, submit, nr, mask))
WRAPPED(io_uring_wait_cqe_timeout, KIND_RING_WAIT,
	(struct io_uring * ring, struct io_uring_cqe **cqe, struct __kernel_timespec *ts),
	(ring, cqe, ts))
