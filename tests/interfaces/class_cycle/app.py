# target: app:app -> unknown
# evidence: class A at app.py:5


class A(B):
    pass


class B(A):
    pass


app = A()
