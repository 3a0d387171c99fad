// SPDX-License-Identifier: MIT
/* pair.c - see pair.h. */
#include "pair.h"

#include <errno.h>
#include <string.h>

#define PORT 1

/* The gid to connect to: the first that is not zero; on an Ethernet device the last of
 * those, which is the one of the IPv4 address (RoCE v2), if it has one. */
static int find_gid(struct pair *p, union ibv_gid *gid, uint8_t *index)
{
	struct ibv_gid_entry entry[16];
	ssize_t n = ibv_query_gid_table(p->context, entry, 16, 0);

	if (n <= 0)
		return -EADDRNOTAVAIL;
	*gid = entry[n - 1].gid;
	*index = (uint8_t)entry[n - 1].gid_index;
	return 0;
}

static int to_init(struct ibv_qp *qp)
{
	struct ibv_qp_attr attr = {
		.qp_state = IBV_QPS_INIT,
		.port_num = PORT,
		.qp_access_flags = IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_READ,
	};

	return -ibv_modify_qp(qp, &attr,
			      IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT |
				      IBV_QP_ACCESS_FLAGS);
}

static int to_receive(struct ibv_qp *qp, uint32_t peer, const struct ibv_ah_attr *ah)
{
	struct ibv_qp_attr attr = {
		.qp_state = IBV_QPS_RTR,
		.path_mtu = IBV_MTU_1024,
		.dest_qp_num = peer,
		.max_dest_rd_atomic = 1,
		.min_rnr_timer = 12,
		.ah_attr = *ah,
	};

	return -ibv_modify_qp(qp, &attr,
			      IBV_QP_STATE | IBV_QP_AV | IBV_QP_PATH_MTU | IBV_QP_DEST_QPN |
				      IBV_QP_RQ_PSN | IBV_QP_MAX_DEST_RD_ATOMIC |
				      IBV_QP_MIN_RNR_TIMER);
}

static int to_send(struct ibv_qp *qp)
{
	struct ibv_qp_attr attr = {
		.qp_state = IBV_QPS_RTS,
		.timeout = 18,
		.retry_cnt = 7,
		.rnr_retry = 7,
		.max_rd_atomic = 1,
	};

	return -ibv_modify_qp(qp, &attr,
			      IBV_QP_STATE | IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT |
				      IBV_QP_RNR_RETRY | IBV_QP_SQ_PSN |
				      IBV_QP_MAX_QP_RD_ATOMIC);
}

static int connect_pair(struct pair *p)
{
	struct ibv_ah_attr ah = {.is_global = 1, .port_num = PORT, .grh = {.hop_limit = 1}};
	int ret = find_gid(p, &ah.grh.dgid, &ah.grh.sgid_index);

	for (int i = 0; !ret && i < 2; i++) {
		ret = to_init(p->qp[i]);
		if (!ret)
			ret = to_receive(p->qp[i], p->qp[!i]->qp_num, &ah);
		if (!ret)
			ret = to_send(p->qp[i]);
	}
	return ret;
}

static int open_device(struct pair *p)
{
	struct ibv_device **list = ibv_get_device_list(NULL);

	if (!list)
		return -errno;
	errno = ENODEV;
	if (list[0])
		p->context = ibv_open_device(list[0]);
	ibv_free_device_list(list);
	return p->context ? 0 : -errno;
}

static int create_qps(struct pair *p)
{
	struct ibv_qp_init_attr attr = {
		.qp_type = IBV_QPT_RC,
		.send_cq = p->cq,
		.recv_cq = p->cq,
		.cap = {.max_send_wr = 4,
			.max_recv_wr = 4,
			.max_send_sge = 1,
			.max_recv_sge = 1},
	};

	for (int i = 0; i < 2; i++) {
		p->qp[i] = ibv_create_qp(p->pd, &attr);
		if (!p->qp[i])
			return -errno;
	}
	return connect_pair(p);
}

int pair_open(struct pair *p)
{
	int ret;

	memset(p, 0, sizeof(*p));
	ret = open_device(p);
	if (ret)
		return ret;
	p->pd = ibv_alloc_pd(p->context);
	if (p->pd)
		p->cq = ibv_create_cq(p->context, 8, NULL, NULL, 0);
	ret = p->cq ? create_qps(p) : -errno;
	if (ret)
		pair_close(p);
	return ret;
}

int pair_close(struct pair *p)
{
	int first = 0, ret;

	for (int i = 0; i < 2; i++) {
		ret = p->qp[i] ? ibv_destroy_qp(p->qp[i]) : 0;
		first = first ? first : ret;
	}
	ret = p->cq ? ibv_destroy_cq(p->cq) : 0;
	first = first ? first : ret;
	ret = p->pd ? ibv_dealloc_pd(p->pd) : 0;
	first = first ? first : ret;
	ret = p->context && ibv_close_device(p->context) ? errno : 0;
	first = first ? first : ret;
	return -first;
}

int pair_transfer(struct pair *p, enum ibv_wr_opcode opcode, void *local, uint32_t lkey,
		  void *remote, uint32_t rkey, uint32_t bytes)
{
	struct ibv_sge sge = {(uintptr_t)local, bytes, lkey};
	struct ibv_send_wr wr = {
		.sg_list = &sge,
		.num_sge = 1,
		.opcode = opcode,
		.send_flags = IBV_SEND_SIGNALED,
		.wr.rdma = {(uintptr_t)remote, rkey},
	};
	struct ibv_send_wr *bad;
	struct ibv_wc wc;
	int ret = ibv_post_send(p->qp[0], &wr, &bad);

	if (ret)
		return -ret;
	do {
		ret = ibv_poll_cq(p->cq, 1, &wc);
	} while (!ret);
	return ret < 0 ? -EIO : (int)wc.status;
}
