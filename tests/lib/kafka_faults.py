"""A Kafka that gives the answers a test wants: the mock cluster that librdkafka brings along, for faults that no real broker shows on demand.

    with FaultyKafka() as broker:
        broker.answer(INIT_PRODUCER_ID, CLUSTER_AUTHORIZATION_FAILED)      the next such request fails so
        … produce to broker.url() …
"""

import ctypes

PRODUCE, INIT_PRODUCER_ID = 0, 22
NOT_ENOUGH_REPLICAS, CLUSTER_AUTHORIZATION_FAILED = 19, 31
PRODUCER = 0


def library():
    found = ctypes.CDLL("librdkafka.so.1")
    for name, result, arguments in (
            ("rd_kafka_conf_new", ctypes.c_void_p, []),
            ("rd_kafka_conf_set", ctypes.c_int, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_size_t]),
            ("rd_kafka_new", ctypes.c_void_p, [ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t]),
            ("rd_kafka_mock_cluster_new", ctypes.c_void_p, [ctypes.c_void_p, ctypes.c_int]),
            ("rd_kafka_mock_cluster_bootstraps", ctypes.c_char_p, [ctypes.c_void_p]),
            ("rd_kafka_mock_push_request_errors_array", None, [ctypes.c_void_p, ctypes.c_int16, ctypes.c_size_t, ctypes.c_void_p]),
            ("rd_kafka_mock_cluster_destroy", None, [ctypes.c_void_p]),
            ("rd_kafka_destroy", None, [ctypes.c_void_p])):
        function = getattr(found, name)
        function.restype, function.argtypes = result, arguments
    return found


class FaultyKafka:
    def __enter__(self):
        self.library = library()
        error = ctypes.create_string_buffer(500)
        quiet = self.library.rd_kafka_conf_new()
        self.library.rd_kafka_conf_set(quiet, b"log_level", b"0", error, len(error))
        self.handle = self.library.rd_kafka_new(PRODUCER, quiet, error, len(error))
        assert self.handle, error.value
        self.cluster = self.library.rd_kafka_mock_cluster_new(self.handle, 1)
        return self

    def __exit__(self, *_):
        self.library.rd_kafka_mock_cluster_destroy(self.cluster)
        self.library.rd_kafka_destroy(self.handle)

    def url(self):
        return "kafka://" + self.library.rd_kafka_mock_cluster_bootstraps(self.cluster).decode()

    def answer(self, request, *errors):
        """The next requests of this kind fail, one with each error."""
        self.library.rd_kafka_mock_push_request_errors_array(self.cluster, request, len(errors), (ctypes.c_int * len(errors))(*errors))
