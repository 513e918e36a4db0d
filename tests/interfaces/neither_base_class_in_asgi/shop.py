import tornado.web


class Base(tornado.web.Application):
    pass


class Shop(Base):
    pass
